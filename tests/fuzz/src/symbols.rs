//! The symbol table of an ELF file: of a file that is made from the input, against a search through all symbols; and of the same file with bytes changed, which must do no harm.

use crate::bytes::Bytes;
use goruntime::fuzzing::SymbolTable;

/// Where the parts of the file lie.
const SEGMENTS: usize = 64;
const SYMBOLS: usize = SEGMENTS + 56;

pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let (Some(count), Some(damage)) = (bytes.byte(), bytes.byte()) else {
        return;
    };
    let mut symbols = Vec::new();
    for _ in 0..count % 32 {
        let (Some(start), Some(size)) = (bytes.byte(), bytes.byte()) else {
            break;
        };
        symbols.push((u64::from(start), u64::from(size % 32)));
    }
    let mut file = file(&symbols);
    let table = SymbolTable::parse(&&file[..]).expect("a well-formed file");
    for offset in 0..300u64 {
        // The last of those that begin last, if it reaches so far.
        let before = symbols.iter().enumerate().filter(|(_, s)| s.0 <= offset);
        let nearest = before.max_by_key(|(n, s)| (s.0, *n));
        let expected = nearest
            .filter(|(_, s)| s.1 == 0 || offset - s.0 < s.1)
            .map(|(n, s)| (format!("f{n}").into_bytes(), offset - s.0));
        let found = table
            .find(offset)
            .map(|(name, within)| (name.to_vec(), within));
        assert_eq!(found, expected, "at {offset} of {symbols:?}");
    }
    for _ in 0..damage {
        let (Some(at), Some(byte)) = (bytes.byte(), bytes.byte()) else {
            break;
        };
        let at = usize::from(at) * 3 % file.len();
        file[at] = byte;
    }
    if let Some(table) = SymbolTable::parse(&&file[..]) {
        (0..300).for_each(|offset| drop(table.find(offset).map(|found| found.1)));
    }
}

/// A file with functions of these starts and sizes, named `f0` and so on, whose bytes belong at their offsets.
fn file(symbols: &[(u64, u64)]) -> Vec<u8> {
    let mut names = vec![0u8];
    let mut table = Vec::new();
    for (n, (start, size)) in symbols.iter().enumerate() {
        table.extend((names.len() as u32).to_le_bytes());
        // A function, defined in section 1.
        table.extend([2, 0, 1, 0]);
        table.extend(start.to_le_bytes());
        table.extend(size.to_le_bytes());
        names.extend(format!("f{n}\0").bytes());
    }
    let strings = SYMBOLS + table.len();
    let sections = strings + names.len();
    let mut file = b"\x7fELF\x02\x01".to_vec();
    file.resize(64, 0);
    let mut put = |at: usize, value: u64, len: usize| {
        file[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
    };
    put(32, SEGMENTS as u64, 8);
    put(40, sections as u64, 8);
    put(54, 56, 2);
    put(56, 1, 2);
    put(58, 64, 2);
    put(60, 2, 2);
    // One segment: all of the file, at address 0.
    file.extend(1u32.to_le_bytes());
    file.extend([0; 4 + 8 + 8 + 8]);
    file.extend(1000u64.to_le_bytes());
    file.resize(SYMBOLS, 0);
    file.extend(&table);
    file.extend(&names);
    for (kind, at, len, link) in [
        (2u32, SYMBOLS, table.len(), 1u32),
        (3, strings, names.len(), 0),
    ] {
        let mut section = [0u8; 64];
        section[4..8].copy_from_slice(&kind.to_le_bytes());
        section[24..32].copy_from_slice(&(at as u64).to_le_bytes());
        section[32..40].copy_from_slice(&(len as u64).to_le_bytes());
        section[40..44].copy_from_slice(&link.to_le_bytes());
        file.extend(section);
    }
    file
}
