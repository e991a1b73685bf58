//! The room that the libc keeps for libraries that are opened later, taken up for frames.
//!
//! glibc leaves some 1,700 bytes between the thread-locals that there are and the frames. They are for libraries that are opened later and demand static
//! thread-locals; nobody says when that happens, so nothing else may lie there - unless the room is not free any more. The way to take it that every
//! version understands is to be such a library: an object of a few hundred bytes, made here, with a variable of just that size, which nobody uses.
//! Then the libc refuses the next one ("cannot allocate memory in static TLS block"), in plain threads too. That is the price, and why it
//! is done only for who asks for it.
//!
//! ```text
//!   thread pointer - below                                                         thread pointer
//!      ├── of the object made here ──────────┼── thread-locals of program, libraries, libc ──┤
//!      └─ frames of a context may lie here   └─ a block begins here
//! ```
//!
//! Invariant: if [`take`] succeeds the object's variable begins at the lowest address of the static area, so that no byte of it is
//! left, and ends below every static thread-local that there is.

use core::ffi::{c_int, c_void};
use core::ptr::null_mut;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::unsupported::Unsupported;

/// Of every structure in the object.
const WORD: usize = 8;

// Where in the object its parts are.
const HEADER: usize = 0;
const HEADER_BYTES: usize = 64;
const SEGMENTS: usize = HEADER_BYTES;
const SEGMENT_BYTES: usize = 56;
const SEGMENT_COUNT: usize = 4;
const DYNAMIC: usize = SEGMENTS + SEGMENT_COUNT * SEGMENT_BYTES;
const DYNAMIC_ENTRIES: usize = 9;
const RELOCATION: usize = DYNAMIC + DYNAMIC_ENTRIES * 2 * WORD;
const RELOCATION_BYTES: usize = 3 * WORD;
const SYMBOLS: usize = RELOCATION + RELOCATION_BYTES;
const SYMBOL_BYTES: usize = 24;
const STRINGS: usize = SYMBOLS + SYMBOL_BYTES;
/// The word that the loader sets to the distance of the variable from the thread pointer.
const DISTANCE: usize = STRINGS + WORD;
const BYTES: usize = DISTANCE + WORD;

const PAGE: u64 = crate::env::PAGE as u64;
const READ_WRITE: u32 = libc::PF_R | libc::PF_W;

// From the ELF specification and the psABI, as the libc crate has not all of them.
const ELF_CLASS_64_LITTLE_ENDIAN: [u8; 7] = [0x7f, b'E', b'L', b'F', 2, 1, 1];
const DYNAMIC_OBJECT: u16 = 3;
const X86_64: u16 = 62;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_RELAENT: u64 = 9;
const DT_STRSZ: u64 = 10;
const DT_SYMENT: u64 = 11;
const DT_FLAGS: u64 = 30;
const DF_STATIC_TLS: u64 = 16;
/// The distance of a static thread-local from the thread pointer; of symbol 0: of the object's own.
const R_X86_64_TPOFF64: u64 = 18;

/// A shared object with nothing in it but a thread-local variable of so many bytes, which must be static.
fn object(variable: usize) -> [u8; BYTES] {
    let mut object = [0; BYTES];
    let mut put = |at: usize, bytes: &[u8]| object[at..at + bytes.len()].copy_from_slice(bytes);
    put(HEADER, &ELF_CLASS_64_LITTLE_ENDIAN);
    put(HEADER + 16, &DYNAMIC_OBJECT.to_le_bytes());
    put(HEADER + 18, &X86_64.to_le_bytes());
    put(HEADER + 20, &1u32.to_le_bytes());
    put(HEADER + 32, &(SEGMENTS as u64).to_le_bytes());
    let sizes = [
        HEADER_BYTES as u16,
        SEGMENT_BYTES as u16,
        SEGMENT_COUNT as u16,
    ];
    for (index, size) in sizes.into_iter().enumerate() {
        put(HEADER + 52 + 2 * index, &size.to_le_bytes());
    }
    // Kind, rights, place, bytes in the file, bytes in memory, alignment.
    let whole = BYTES as u64;
    let dynamic = (DYNAMIC_ENTRIES * 2 * WORD) as u64;
    let segments = [
        (libc::PT_LOAD, READ_WRITE, 0, whole, whole, PAGE),
        (
            libc::PT_DYNAMIC,
            READ_WRITE,
            DYNAMIC as u64,
            dynamic,
            dynamic,
            8,
        ),
        (libc::PT_TLS, libc::PF_R, whole, 0, variable as u64, 1),
        // That no stack is to be executable: not saying so would mean the contrary.
        (libc::PT_GNU_STACK, READ_WRITE, 0, 0, 0, 16),
    ];
    for (index, (kind, rights, place, in_file, in_memory, alignment)) in
        segments.into_iter().enumerate()
    {
        let at = SEGMENTS + index * SEGMENT_BYTES;
        put(at, &kind.to_le_bytes());
        put(at + 4, &rights.to_le_bytes());
        let words = [place, place, place, in_file, in_memory, alignment];
        for (index, word) in words.into_iter().enumerate() {
            put(at + (1 + index) * WORD, &word.to_le_bytes());
        }
    }
    let entries: [(u64, u64); DYNAMIC_ENTRIES - 1] = [
        (DT_STRTAB, STRINGS as u64),
        (DT_STRSZ, 1),
        (DT_SYMTAB, SYMBOLS as u64),
        (DT_SYMENT, SYMBOL_BYTES as u64),
        (DT_RELA, RELOCATION as u64),
        (DT_RELASZ, RELOCATION_BYTES as u64),
        (DT_RELAENT, RELOCATION_BYTES as u64),
        (DT_FLAGS, DF_STATIC_TLS),
    ];
    for (index, (tag, value)) in entries.into_iter().enumerate() {
        put(DYNAMIC + 2 * index * WORD, &tag.to_le_bytes());
        put(DYNAMIC + (2 * index + 1) * WORD, &value.to_le_bytes());
    }
    put(RELOCATION, &(DISTANCE as u64).to_le_bytes());
    put(RELOCATION + WORD, &R_X86_64_TPOFF64.to_le_bytes());
    object
}

/// Takes up what is free of the `below` bytes of static area under the thread pointer, of which those from `used` up to it are not.
pub(super) fn take(below: usize, used: usize) -> Result<(), Unsupported> {
    let Some(variable) = below.checked_sub(used).filter(|&free| free > 0) else {
        return Ok(());
    };
    let distance = open(&object(variable))?;
    // Nothing lies there yet, so an object in an unexpected place has done no harm.
    if distance != -(below as isize) {
        return Err(Unsupported::UnknownLayout {
            fact: "the reserve for later libraries to end where the static thread-locals begin",
        });
    }
    Ok(())
}

/// Opens the object for good, and returns how far its variable is from the thread pointer.
fn open(object: &[u8; BYTES]) -> Result<isize, Unsupported> {
    let refused = |error: std::io::Error| Unsupported::Refused {
        operation: "write down the object that takes up the reserve for thread-locals of later libraries",
        errno: error.raw_os_error().unwrap_or(0),
    };
    let file = memory_file().map_err(refused)?;
    (&file).write_all(object).map_err(refused)?;
    let path = format!("/proc/self/fd/{}\0", file.as_raw_fd());
    let mut map: *const LinkMap = null_mut();
    // SAFETY: a terminated path, of an object without code, let alone constructors; `dlinfo` writes a pointer to the loader's record of it, which lasts as long
    // as the object, whose word was set before `dlopen` returned.
    unsafe {
        let flags = libc::RTLD_NOW | libc::RTLD_LOCAL | libc::RTLD_NODELETE;
        let handle = libc::dlopen(path.as_ptr().cast(), flags);
        if handle.is_null()
            || libc::dlinfo(handle, RTLD_DI_LINKMAP, (&raw mut map).cast::<c_void>()) != 0
        {
            // Taken, so that nobody else is told of it.
            libc::dlerror();
            return Err(Unsupported::Refused {
                operation: "open the object that takes up the reserve for thread-locals of later libraries",
                errno: libc::ENOMEM,
            });
        }
        Ok(core::ptr::with_exposed_provenance::<isize>((*map).address + DISTANCE).read())
    }
}

/// A file that is nowhere, and holds nothing that is run.
fn memory_file() -> std::io::Result<File> {
    /// `MFD_NOEXEC_SEAL`, since Linux 6.3, where a system may insist on it.
    const NOT_EXECUTABLE: libc::c_uint = 8;
    let make = |flags| {
        // SAFETY: a terminated name; the descriptor is new.
        match unsafe { libc::memfd_create(c"static thread-locals".as_ptr(), flags) } {
            -1 => Err(std::io::Error::last_os_error()),
            // SAFETY: nobody else has it.
            fd => Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) })),
        }
    };
    make(libc::MFD_CLOEXEC | NOT_EXECUTABLE).or_else(|_| make(libc::MFD_CLOEXEC))
}

/// `RTLD_DI_LINKMAP`, from `dlfcn.h`.
const RTLD_DI_LINKMAP: c_int = 2;

/// The beginning of `struct link_map`, from `link.h`.
#[repr(C)]
struct LinkMap {
    /// What is added to the object's own addresses.
    address: usize,
}
