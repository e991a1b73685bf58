//! What the counter has to know of an x86-64 instruction, from its first bytes.
//!
//! Not a disassembler: three things matter, and everything else is [`Kind::Plain`]. An instruction begins with legacy prefixes in any
//! order, then perhaps a REX prefix, then the opcode. The operand of a call or jump is in the byte after it (ModRM).
//! See the Intel manual, volume 2, chapter 2.

/// What an instruction is to the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any other; a call or jump through a word at a fixed distance from itself is one too: the linker fills that word (the GOT, the PLT).
    Plain,
    /// `int3`: where a repetition of a probe begins or ends.
    Marker,
    /// A call or jump to an address that was computed: from a register, or from memory that a register leads to.
    Indirect,
    /// A string instruction with a repeat prefix. It traps after each round, at the same address.
    Repeats,
}

/// Bytes that are enough to tell: prefixes that compilers put in front of a call or a string instruction, the opcode, ModRM.
pub const ENOUGH: usize = 8;

/// The kind of the instruction that begins with `code`.
pub fn kind(code: &[u8]) -> Kind {
    let mut rest = code.iter().copied();
    let (mut repeat, mut is_first) = (false, true);
    let opcode = loop {
        match rest.next() {
            Some(0xf2 | 0xf3) => repeat = true,
            // Operand and address size, segments (among them "notrack"), lock, REX.
            Some(0x66 | 0x67 | 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0xf0 | 0x40..=0x4f) => {}
            Some(opcode) => break opcode,
            None => return Kind::Plain,
        }
        is_first = false;
    };
    match opcode {
        0xcc if is_first => Kind::Marker,
        // ins, outs; movs, cmps; stos, lods, scas.
        0x6c..=0x6f | 0xa4..=0xa7 | 0xaa..=0xaf if repeat => Kind::Repeats,
        0xff => match rest.next() {
            Some(operand) if is_computed(operand) => Kind::Indirect,
            _ => Kind::Plain,
        },
        _ => Kind::Plain,
    }
}

/// Does this ModRM byte after `ff` make it a call or jump, near or far, by anything but a word relative to the instruction pointer?
fn is_computed(operand: u8) -> bool {
    let (mode, which, base) = (operand >> 6, (operand >> 3) & 7, operand & 7);
    matches!(which, 2..=5) && !(mode == 0 && base == 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_jumps_by_register_and_memory_are_indirect() {
        for code in [
            &[0xff, 0xd0][..],                        // call rax
            &[0x41, 0xff, 0xd4],                      // call r12
            &[0xff, 0x50, 0x18],                      // call [rax + 24]: a vtable
            &[0x41, 0xff, 0x54, 0x24, 0x08],          // call [r12 + 8]
            &[0xff, 0x14, 0xc8],                      // call [rax + rcx * 8]
            &[0xff, 0xe0],                            // jmp rax
            &[0x3e, 0xff, 0xe0],                      // notrack jmp rax
            &[0xff, 0x24, 0xc5, 0, 0x10, 0, 0],       // jmp [rax * 8 + table]
            &[0xff, 0x95, 0, 1, 0, 0],                // call [rbp + 256]
            &[0x64, 0xff, 0x14, 0x25, 0x10, 0, 0, 0], // call fs:[16]
        ] {
            assert_eq!(kind(code), Kind::Indirect, "{code:x?}");
        }
    }

    #[test]
    fn what_the_linker_resolves_is_not() {
        for code in [
            &[0xff, 0x15, 1, 2, 3, 4][..],      // call [rip + x]: through the GOT
            &[0xff, 0x25, 1, 2, 3, 4],          // jmp [rip + x]: the PLT
            &[0xf2, 0xff, 0x25, 1, 2, 3, 4],    // bnd jmp [rip + x]
            &[0x66, 0x48, 0xff, 0x15, 1, 2, 3], // the same call, padded, to __tls_get_addr
            &[0xe8, 1, 2, 3, 4],                // call
            &[0xe9, 1, 2, 3, 4],                // jmp
            &[0xc3],                            // ret
        ] {
            assert_eq!(kind(code), Kind::Plain, "{code:x?}");
        }
    }

    #[test]
    fn other_uses_of_the_opcode_are_plain() {
        assert_eq!(kind(&[0xff, 0xc0]), Kind::Plain, "inc eax");
        assert_eq!(kind(&[0xff, 0x48, 0x08]), Kind::Plain, "dec [rax + 8]");
        assert_eq!(kind(&[0xff, 0x30]), Kind::Plain, "push [rax]");
        assert_eq!(kind(&[0x0f, 0xff, 0xd0]), Kind::Plain, "ud0");
        assert_eq!(kind(&[0xff]), Kind::Plain, "cut off");
        assert_eq!(kind(&[]), Kind::Plain);
    }

    #[test]
    fn repeated_string_instructions_repeat() {
        assert_eq!(kind(&[0xf3, 0xa4]), Kind::Repeats, "rep movsb");
        assert_eq!(kind(&[0xf3, 0x48, 0xab]), Kind::Repeats, "rep stosq");
        assert_eq!(kind(&[0xf2, 0xae]), Kind::Repeats, "repne scasb");
        assert_eq!(kind(&[0xa4]), Kind::Plain, "movsb");
        assert_eq!(kind(&[0xf3, 0x90]), Kind::Plain, "pause");
        assert_eq!(kind(&[0xf3, 0x0f, 0x1e, 0xfa]), Kind::Plain, "endbr64");
        assert_eq!(kind(&[0xf3, 0x0f, 0xae, 0xd0]), Kind::Plain, "wrfsbase");
    }

    #[test]
    fn the_marker_is_the_bare_breakpoint() {
        assert_eq!(kind(&[0xcc, 0xff, 0xd0]), Kind::Marker);
        assert_eq!(kind(&[0xcd, 0xcc]), Kind::Plain, "int 0xcc");
        assert_eq!(kind(&[0x48, 0xcc]), Kind::Plain);
    }
}
