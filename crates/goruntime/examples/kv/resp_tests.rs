//! Tests of the request parser: examples of each rule, and that the cutting of a stream into pieces never matters.

use super::*;
use proptest::prelude::*;

type Requests = Vec<Vec<Vec<u8>>>;

/// Feeds `stream` in pieces that end at `cuts`, as a connection does. Gives the requests that are not empty, and the error.
fn run(stream: &[u8], cuts: &[usize]) -> (Requests, Option<ProtocolError>) {
    let mut parser = Parser::new();
    let mut requests = Vec::new();
    let mut start = 0;
    let mut ends = cuts.to_vec();
    ends.push(stream.len());
    for end in ends {
        loop {
            let input = &stream[start..end];
            match parser.parse(input, DEFAULT_BULK_LIMIT) {
                Ok(Progress::Request(length)) => {
                    let args = parser.args(input);
                    if !args.is_empty() {
                        requests.push(args.from(0).map(<[u8]>::to_vec).collect());
                    }
                    start += length;
                }
                Ok(Progress::Incomplete(more)) => {
                    assert!(more > 0);
                    break;
                }
                Err(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

fn words(line: &str) -> Result<Vec<String>, ProtocolError> {
    let (requests, error) = run(format!("{line}\r\n").as_bytes(), &[]);
    match error {
        Some(error) => Err(error),
        None => Ok(requests
            .into_iter()
            .flatten()
            .map(|word| String::from_utf8_lossy(&word).into_owned())
            .collect()),
    }
}

fn encode(request: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", request.len()).into_bytes();
    for argument in request {
        bytes.extend(format!("${}\r\n", argument.len()).bytes());
        bytes.extend(argument);
        bytes.extend(b"\r\n");
    }
    bytes
}

#[test]
fn inline_words_and_quotes() {
    assert_eq!(
        words("SET k v"),
        Ok(vec!["SET".into(), "k".into(), "v".into()])
    );
    assert_eq!(words("  a\t b  "), Ok(vec!["a".into(), "b".into()]));
    assert_eq!(
        words(r#"a "b c" 'd "e'"#),
        Ok(vec!["a".into(), "b c".into(), "d \"e".into()])
    );
    assert_eq!(
        words(r#""\x41\n\t\q" '\'' '\n'"#),
        Ok(vec!["A\n\tq".into(), "'".into(), "\\n".into()])
    );
    assert_eq!(words(r#""" x"#), Ok(vec!["".into(), "x".into()]));
    assert_eq!(words(r#"ab"c""#), Ok(vec!["abc".into()]));
    assert_eq!(words(r#""a"b"#), Err(ProtocolError::UnbalancedQuotes));
    assert_eq!(words(r#"'a"#), Err(ProtocolError::UnbalancedQuotes));
    assert_eq!(words(r#""a\"#), Err(ProtocolError::UnbalancedQuotes));
    assert_eq!(words(""), Ok(vec![]));
}

#[test]
fn requests_without_arguments_are_skipped() {
    let (requests, error) = run(b"*0\r\n*-1\r\n\r\n*1\r\n$4\r\nPING\r\n", &[]);
    assert_eq!((requests.len(), error), (1, None));
}

#[test]
fn what_is_not_the_protocol() {
    use ProtocolError::*;
    for (stream, expected) in [
        (&b"*x\r\n"[..], InvalidCount),
        (b"*2147483648\r\n", InvalidCount),
        (b"*01\r\n", InvalidCount),
        (b"*1\r\n$-1\r\n", InvalidLength),
        (b"*1\r\n$a\r\n", InvalidLength),
        (b"*1\r\n$536870913\r\n", InvalidLength),
        (b"*1\r\n:1\r\n", ExpectedBulk(b':')),
        (b"*1\r\n\r\n", ExpectedBulk(b'\r')),
    ] {
        assert_eq!(run(stream, &[]), (vec![], Some(expected)));
    }
    let long = |head: &str| [head.as_bytes(), &vec![b'1'; LINE_LIMIT + 1]].concat();
    assert_eq!(run(&long(""), &[]).1, Some(InlineTooLong));
    assert_eq!(run(&long("*"), &[]).1, Some(CountTooLong));
    assert_eq!(run(&long("*1\r\n$"), &[]).1, Some(LengthTooLong));
}

#[test]
fn requests_before_an_error_count() {
    let (requests, error) = run(b"PING\r\n*1\r\n$4\r\nPING\r\n*1\r\nx\r\n", &[]);
    assert_eq!(
        (requests.len(), error),
        (2, Some(ProtocolError::ExpectedBulk(b'x')))
    );
}

#[test]
fn a_length_header_allocates_nothing() {
    let mut parser = Parser::new();
    let input = b"*2000000000\r\n$536870912\r\nabc";
    let progress = parser.parse(input, DEFAULT_BULK_LIMIT);
    assert_eq!(
        progress,
        Ok(Progress::Incomplete(DEFAULT_BULK_LIMIT + 2 - 3))
    );
    assert_eq!(
        (parser.spans.capacity(), parser.unquoted.capacity()),
        (0, 0)
    );
}

#[test]
fn room_for_many_arguments_is_given_back() {
    let many = encode(&vec![b"x".to_vec(); 100_000]);
    let mut parser = Parser::new();
    assert_eq!(parser.parse(&many, 1), Ok(Progress::Request(many.len())));
    assert_eq!(parser.parse(b"", 1), Ok(Progress::Incomplete(1)));
    assert!(parser.spans.capacity() <= 2 * ARGUMENTS_KEPT);
}

fn request() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..6)
}

/// Bytes that are nearly the protocol, so that the parser gets into every state before it fails.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => request().prop_map(|request| encode(&request)),
        1 => Just(b"*3\r\n$1\r\na\r\n".to_vec()),
        1 => Just(b"SET 'a b' \"\\x41\"\r\n".to_vec()),
        1 => Just(b"\r\n".to_vec()),
        1 => Just(b"$5\r\n".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..10),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn cuts(length: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..=length, 0..12).prop_map(|mut cuts| {
        cuts.sort_unstable();
        cuts
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_was_sent_is_what_arrives(requests in prop::collection::vec(request(), 0..6)) {
        let stream: Vec<u8> = requests.iter().flat_map(|request| encode(request)).collect();
        let sent: Requests = requests.into_iter().filter(|request| !request.is_empty()).collect();
        let every_byte: Vec<usize> = (0..stream.len()).collect();
        prop_assert_eq!(run(&stream, &every_byte), (sent, None));
    }

    #[test]
    fn cutting_the_stream_does_not_matter(
        (stream, cuts) in garbage().prop_flat_map(|stream| { let n = stream.len(); (Just(stream), cuts(n)) })
    ) {
        prop_assert_eq!(run(&stream, &cuts), run(&stream, &[]));
    }
}
