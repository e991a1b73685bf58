//! The symbol table of a program or library, from its file: full names of functions, and where these begin.
//!
//! Debug information may be absent, or hold line tables only, in which names are short; the symbol table has the whole mangled names unless the file was
//! stripped. What is read is ELF (System V ABI, chapters 4 and 5): the header, section headers, `.symtab` and its strings, and program headers, which say at what
//! address each part of the file belongs.
//!
//! Invariant: whatever the bytes are, nothing is read beyond them, and what makes no sense is left out.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Functions of one file, by address.
#[derive(Default)]
pub struct SymbolTable {
    /// In order of their starts.
    functions: Vec<Function>,
    names: Vec<u8>,
    segments: Vec<Segment>,
}

/// A part of the file, and its address.
#[derive(Clone, Copy)]
struct Segment {
    offset: u64,
    len: u64,
    address: u64,
}

#[derive(Clone, Copy)]
struct Function {
    start: u64,
    size: u64,
    name: u32,
}

/// What is read from: a file, or bytes.
pub trait Source {
    /// `len` bytes from `at`; `None` if there are not so many.
    fn read(&self, at: u64, len: usize) -> Option<Vec<u8>>;
}

impl Source for File {
    fn read(&self, at: u64, len: usize) -> Option<Vec<u8>> {
        let end = at.checked_add(len as u64)?;
        if end > self.metadata().ok()?.len() {
            return None;
        }
        let mut bytes = vec![0; len];
        self.read_exact_at(&mut bytes, at).ok()?;
        Some(bytes)
    }
}

impl Source for &[u8] {
    fn read(&self, at: u64, len: usize) -> Option<Vec<u8>> {
        let at = usize::try_from(at).ok()?;
        Some(self.get(at..at.checked_add(len)?)?.to_vec())
    }
}

const HEADER: usize = 64;
const SECTION: usize = 64;
const SEGMENT: usize = 56;
const SYMBOL: usize = 24;

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

impl SymbolTable {
    /// Reads a file.
    ///
    /// # Errors
    /// Those of opening it.
    pub fn of(path: &Path) -> io::Result<SymbolTable> {
        let file = File::open(path)?;
        Ok(SymbolTable::parse(&file).unwrap_or_default())
    }

    /// `None` if it is no ELF file of 64 bits, or has no symbol table.
    pub fn parse(source: &impl Source) -> Option<SymbolTable> {
        let header = source.read(0, HEADER)?;
        if header[..6] != *b"\x7fELF\x02\x01" {
            return None;
        }
        let segments = segments(source, &header)?;
        let (symbols, names) = sections(source, &header)?;
        let mut functions: Vec<Function> = symbols
            .chunks_exact(SYMBOL)
            .filter_map(|symbol| function(symbol, names.len()))
            .collect();
        functions.sort_by_key(|function| function.start);
        Some(SymbolTable {
            functions,
            names,
            segments,
        })
    }

    /// The mangled name of the function that lies at an offset in the file, and how far the offset is from its start.
    pub fn find(&self, offset: u64) -> Option<(&[u8], u64)> {
        let holds = |s: &&Segment| offset.wrapping_sub(s.offset) < s.len;
        let segment = self.segments.iter().find(holds)?;
        let address = (offset - segment.offset).wrapping_add(segment.address);
        let after = self.functions.partition_point(|f| f.start <= address);
        // Functions of one start are names of one function; a size of zero is one that was not told.
        let function = self.functions[..after].last()?;
        let within = address - function.start;
        if function.size != 0 && within >= function.size {
            return None;
        }
        let name = self.names.get(function.name as usize..)?;
        let name = name.split(|&byte| byte == 0).next()?;
        (!name.is_empty()).then_some((name, within))
    }
}

/// What of the file is loaded.
fn segments(source: &impl Source, header: &[u8]) -> Option<Vec<Segment>> {
    const LOAD: u32 = 1;
    let (at, count) = (u64_at(header, 32)?, u16_at(header, 56)?);
    if usize::from(u16_at(header, 54)?) != SEGMENT {
        return None;
    }
    let segments = source.read(at, usize::from(count) * SEGMENT)?;
    let loaded = segments
        .chunks_exact(SEGMENT)
        .filter(|segment| u32_at(segment, 0) == Some(LOAD));
    let segment = |segment| {
        Some(Segment {
            offset: u64_at(segment, 8)?,
            address: u64_at(segment, 16)?,
            len: u64_at(segment, 32)?,
        })
    };
    loaded.map(segment).collect()
}

/// The symbol table and its strings.
fn sections(source: &impl Source, header: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    const SYMTAB: u32 = 2;
    let (at, count) = (u64_at(header, 40)?, u16_at(header, 60)?);
    if usize::from(u16_at(header, 58)?) != SECTION {
        return None;
    }
    let sections = source.read(at, usize::from(count) * SECTION)?;
    let symtab = sections
        .chunks_exact(SECTION)
        .find(|section| u32_at(section, 4) == Some(SYMTAB))?;
    let strings = sections
        .chunks_exact(SECTION)
        .nth(u32_at(symtab, 40)? as usize)?;
    let contents = |section: &[u8]| {
        let len = usize::try_from(u64_at(section, 32)?).ok()?;
        source.read(u64_at(section, 24)?, len)
    };
    Some((contents(symtab)?, contents(strings)?))
}

fn function(symbol: &[u8], names: usize) -> Option<Function> {
    const FUNCTION: u8 = 2;
    let (name, defined) = (u32_at(symbol, 0)?, u16_at(symbol, 6)? != 0);
    let is_function = symbol[4] & 15 == FUNCTION && defined;
    (is_function && (name as usize) < names).then_some(Function {
        start: u64_at(symbol, 8)?,
        size: u64_at(symbol, 16)?,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gomem::profile::pprof::Objects;
    use proptest::prelude::*;

    #[inline(never)]
    fn a_function_of_this_program(x: u64) -> u64 {
        std::hint::black_box(x) + 1
    }

    fn own() -> SymbolTable {
        SymbolTable::of(Path::new("/proc/self/exe")).unwrap()
    }

    #[test]
    fn finds_a_function_of_this_program() {
        let address = a_function_of_this_program as *const () as usize;
        let objects = Objects::loaded();
        let object = objects.iter().nth(objects.position(address).unwrap());
        let object = object.unwrap();
        let table = own();
        let offset = |address| (address - object.range.start) as u64 + object.offset;
        let (name, within) = table.find(offset(address + 1)).unwrap();
        let name = String::from_utf8_lossy(name);
        assert!(name.contains("a_function_of_this_program"), "{name}");
        assert_eq!(within, 1);
        assert!(table.find(1).is_none());
    }

    #[test]
    fn a_file_cut_anywhere_is_no_trouble() {
        let whole = std::fs::read("/proc/self/exe").unwrap();
        for cut in (0..12).map(|n| whole.len() * n / 12).chain(0..130) {
            if let Some(table) = SymbolTable::parse(&&whole[..cut]) {
                table.find(0x1000);
            }
        }
        assert!(SymbolTable::parse(&&whole[..]).is_some());
    }

    proptest! {
        #[test]
        fn a_damaged_header_is_no_trouble(damage in prop::collection::vec((0usize..64, any::<u8>()), 0..8)) {
            let file = File::open("/proc/self/exe").unwrap();
            let mut bytes = file.read(0, 1 << 16).unwrap();
            for (at, byte) in damage {
                bytes[at] = byte;
            }
            if let Some(table) = SymbolTable::parse(&&bytes[..]) {
                table.find(0x1000);
            }
        }
    }
}
