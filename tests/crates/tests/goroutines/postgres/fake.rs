//! A server that knows two statements and speaks as much of the protocol as they need.

use std::io::{self, Read, Write};

/// Serves a client until it says good-bye.
pub fn serve(mut stream: impl Read + Write) -> io::Result<()> {
    let startup = body(&mut stream)?;
    assert_eq!(startup[..4], 0x0003_0000i32.to_be_bytes(), "version 3.0");
    let mut out = Vec::new();
    message(&mut out, b'R', &0i32.to_be_bytes());
    message(&mut out, b'S', b"server_version\x0015.0\0");
    message(&mut out, b'K', &[0; 8]);
    message(&mut out, b'Z', b"I");
    stream.write_all(&out)?;
    let mut parameter = Vec::new();
    loop {
        let mut tag = [0];
        stream.read_exact(&mut tag)?;
        let body = body(&mut stream)?;
        let mut out = Vec::new();
        match tag[0] {
            b'Q' => {
                let sql = String::from_utf8_lossy(&body);
                match sql.split('\'').nth(1) {
                    Some(text) => row(&mut out, text.as_bytes()),
                    None => message(&mut out, b'E', b"SERROR\0C22012\0Mdivision by zero\0\0"),
                }
                message(&mut out, b'Z', b"I");
            }
            b'P' => message(&mut out, b'1', b""),
            b'B' => {
                // Portal, statement, one format, one value: all names are empty.
                let length = i32::from_be_bytes(body[8..12].try_into().unwrap());
                parameter = body[12..12 + length as usize].to_vec();
                message(&mut out, b'2', b"");
            }
            b'E' => row(&mut out, &parameter),
            b'S' => message(&mut out, b'Z', b"I"),
            b'X' => return Ok(()),
            other => panic!("a client of ours does not say {}", char::from(other)),
        }
        stream.write_all(&out)?;
    }
}

/// What follows its own length.
fn body(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut body = vec![0; i32::from_be_bytes(length) as usize - 4];
    stream.read_exact(&mut body)?;
    Ok(body)
}

fn message(out: &mut Vec<u8>, tag: u8, body: &[u8]) {
    out.push(tag);
    out.extend((body.len() as i32 + 4).to_be_bytes());
    out.extend(body);
}

/// The text upside down, and its length.
fn row(out: &mut Vec<u8>, text: &[u8]) {
    let reversed: Vec<u8> = text.iter().rev().copied().collect();
    let mut body = 2i16.to_be_bytes().to_vec();
    for column in [reversed, text.len().to_string().into_bytes()] {
        body.extend((column.len() as i32).to_be_bytes());
        body.extend(column);
    }
    message(out, b'D', &body);
    message(out, b'C', b"SELECT 1\0");
}
