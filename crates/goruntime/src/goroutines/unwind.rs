//! From the registers of code that stands still to its calls.
//!
//! The tables that the compiler writes for exceptions (`.eh_frame`, LSB and DWARF 6.4) say for each instruction where its frame begins and where the caller's
//! registers were saved. `gimli` reads them; here are the walk, and what it may read.
//!
//! Invariant: nothing is read but the tables of loaded objects, which stay loaded, and the words of the stack that the walk was given. A stack that is
//! not as the tables say ends the walk; it does not end the process.

use crate::world::modules::Module;
use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, EndianSlice, Evaluation, EvaluationResult,
    EvaluationStorage, LittleEndian, Location, ParsedEhFrameHdr, Register, RegisterRule,
    UnwindContext, UnwindExpression, UnwindSection, UnwindTableRow, Value, X86_64,
};
use std::ops::Range;

/// Calls that are kept of a stack, the innermost ones.
pub(crate) const DEPTH: usize = 128;

/// The tables of a process.
pub(crate) struct Unwinder<'a> {
    objects: Vec<Object<'a>>,
    context: UnwindContext<usize>,
}

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

struct Object<'a> {
    code: &'a [Range<usize>],
    index: ParsedEhFrameHdr<Bytes<'a>>,
    table: EhFrame<Bytes<'a>>,
    bases: BaseAddresses,
}

/// Where code stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) ip: usize,
    pub(crate) sp: usize,
    /// `rbp`.
    pub(crate) fp: usize,
    /// `rbx`, and `r12` to `r15`, where they are known: some functions find their frame by one of them.
    pub(crate) others: Option<[usize; 5]>,
}

/// The words of a stack: where they lay, and where they lie now if they were copied.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    range: Range<usize>,
    at: usize,
}

impl Words {
    /// Those of a stack that stands still.
    pub(crate) fn in_place(range: Range<usize>) -> Words {
        let at = range.start;
        Words { range, at }
    }

    /// Those that lay from `start` on.
    pub(crate) fn copied(start: usize, words: &[u64]) -> Words {
        Words {
            range: start..start + size_of_val(words),
            at: words.as_ptr().expose_provenance(),
        }
    }
}

impl<'a> Unwinder<'a> {
    /// # Safety
    /// 1. The modules stay loaded while the value lives.
    pub(crate) unsafe fn new(modules: &'a [Module]) -> Unwinder<'a> {
        // SAFETY: the obligation.
        let object = |module| unsafe { Object::new(module) };
        Unwinder {
            objects: modules.iter().filter_map(object).collect(),
            context: UnwindContext::new(),
        }
    }

    /// Calls `each` with the addresses of the calls, the innermost first: the instruction that comes next, then return addresses.
    ///
    /// # Safety
    /// 1. The words of `stack` can be read.
    pub(crate) unsafe fn walk(&mut self, start: Start, stack: Words, mut each: impl FnMut(usize)) {
        let mut frame = Frame::new(start, stack);
        for depth in 0..DEPTH {
            each(frame.ip);
            // A return address may be that of the next function, if the call was the last instruction of its own.
            let at = frame.ip - usize::from(depth > 0);
            let object = self.objects.iter().find(|o| o.contains(at));
            let caller = object.and_then(|object| {
                let row = object.row(at, &mut self.context)?;
                // SAFETY: the obligation.
                unsafe { frame.caller(row, object) }
            });
            match caller {
                Some(caller) if caller.ip > 1 => frame = caller,
                _ => return,
            }
        }
    }
}

impl<'a> Object<'a> {
    /// # Safety
    /// 1. The module stays loaded for `'a`.
    unsafe fn new(module: &'a Module) -> Option<Object<'a>> {
        let bytes = |range: Range<usize>| {
            let at = std::ptr::with_exposed_provenance::<u8>(range.start);
            // SAFETY: within a segment of a module that stays loaded; such a segment is never written to after its relocation.
            EndianSlice::new(
                unsafe { std::slice::from_raw_parts(at, range.len()) },
                LittleEndian,
            )
        };
        let segment = |address| module.tables.iter().find(|t| t.contains(&address));
        let header = module.unwind.clone()?;
        segment(header.start).filter(|s| s.end >= header.end)?;
        let bases = BaseAddresses::default().set_eh_frame_hdr(header.start as u64);
        let index = EhFrameHdr::from(bytes(header)).parse(&bases, 8).ok()?;
        let table = match index.eh_frame_ptr() {
            gimli::Pointer::Direct(address) => address as usize,
            gimli::Pointer::Indirect(_) => return None,
        };
        // How long it is the index does not say; it lies in a segment, and ends with a mark.
        let end = segment(table)?.end;
        Some(Object {
            code: &module.code,
            index,
            table: EhFrame::from(bytes(table..end)),
            bases: bases.set_eh_frame(table as u64),
        })
    }

    fn contains(&self, address: usize) -> bool {
        self.code.iter().any(|range| range.contains(&address))
    }

    /// What the tables say of this instruction.
    fn row<'c>(
        &self,
        address: usize,
        context: &'c mut UnwindContext<usize>,
    ) -> Option<&'c UnwindTableRow<usize>> {
        self.index
            .table()?
            .unwind_info_for_address(
                &self.table,
                &self.bases,
                context,
                address as u64,
                EhFrame::cie_from_offset,
            )
            .ok()
    }
}

/// Where expressions are evaluated without allocating. Those of stacks need a handful of values.
struct NoHeap;

impl<R: gimli::Reader> EvaluationStorage<R> for NoHeap {
    type Stack = [Value; 32];
    type ExpressionStack = [(R, R); 1];
    type Result = [gimli::Piece<R>; 1];
}

/// The registers that a call preserves, by their DWARF numbers, as far as they are known, and the stack.
#[derive(Clone)]
struct Frame {
    ip: usize,
    registers: [Option<u64>; 16],
    stack: Words,
}

/// Registers that a call preserves, besides the frame pointer.
const OTHERS: [Register; 5] = [
    X86_64::RBX,
    X86_64::R12,
    X86_64::R13,
    X86_64::R14,
    X86_64::R15,
];

impl Frame {
    fn new(start: Start, stack: Words) -> Frame {
        let mut registers = [None; 16];
        registers[X86_64::RSP.0 as usize] = Some(start.sp as u64);
        registers[X86_64::RBP.0 as usize] = Some(start.fp as u64);
        for (register, value) in OTHERS.iter().zip(start.others.into_iter().flatten()) {
            registers[register.0 as usize] = Some(value as u64);
        }
        Frame {
            ip: start.ip,
            registers,
            stack,
        }
    }

    fn get(&self, register: Register) -> Option<u64> {
        if register == X86_64::RA {
            return Some(self.ip as u64);
        }
        *self.registers.get(register.0 as usize)?
    }

    /// # Safety
    /// 1. The words of `stack` can be read.
    unsafe fn read(&self, address: u64) -> Option<u64> {
        let at = address as usize;
        let range = &self.stack.range;
        let inside = at >= range.start && at.checked_add(8)? <= range.end;
        if !inside || !at.is_multiple_of(8) {
            return None;
        }
        let word = std::ptr::with_exposed_provenance(self.stack.at + (at - range.start));
        // SAFETY: the obligation; the word need not be initialised.
        Some(unsafe { gogc::word::load(word) } as u64)
    }

    /// # Safety
    /// 1. The words of `stack` can be read.
    unsafe fn caller(&self, row: &UnwindTableRow<usize>, object: &Object<'_>) -> Option<Frame> {
        let cfa = match row.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => {
                self.get(*register)?.wrapping_add_signed(*offset)
            }
            // SAFETY: the obligation.
            CfaRule::Expression(expression) => unsafe { self.evaluate(expression, object, None)? },
        };
        let sp = self.get(X86_64::RSP)?;
        if cfa <= sp {
            return None;
        }
        let recover = |register: Register| match row.register(register) {
            // SAFETY: the obligation.
            Some(RegisterRule::Offset(offset)) => unsafe {
                self.read(cfa.wrapping_add_signed(offset))
            },
            Some(RegisterRule::ValOffset(offset)) => Some(cfa.wrapping_add_signed(offset)),
            Some(RegisterRule::Register(other)) => self.get(other),
            // SAFETY: the obligation.
            Some(RegisterRule::Expression(expression)) => unsafe {
                self.read(self.evaluate(&expression, object, Some(cfa))?)
            },
            // SAFETY: the obligation.
            Some(RegisterRule::ValExpression(expression)) => unsafe {
                self.evaluate(&expression, object, Some(cfa))
            },
            Some(RegisterRule::Constant(value)) => Some(value),
            Some(RegisterRule::SameValue) | None if register != X86_64::RA => self.get(register),
            // The caller of whom there is none has no return address.
            _ => None,
        };
        let mut registers = [None; 16];
        for register in OTHERS.into_iter().chain([X86_64::RBP]) {
            registers[register.0 as usize] = recover(register);
        }
        registers[X86_64::RSP.0 as usize] = Some(cfa);
        Some(Frame {
            ip: recover(X86_64::RA)? as usize,
            registers,
            stack: self.stack.clone(),
        })
    }

    /// # Safety
    /// 1. The words of `stack` can be read.
    unsafe fn evaluate(
        &self,
        expression: &UnwindExpression<usize>,
        object: &Object<'_>,
        cfa: Option<u64>,
    ) -> Option<u64> {
        let encoding = gimli::Encoding {
            address_size: 8,
            format: gimli::Format::Dwarf32,
            version: 4,
        };
        let expression = expression.get(&object.table).ok()?;
        let mut evaluation = Evaluation::<_, NoHeap>::new_in(expression.0, encoding);
        if let Some(cfa) = cfa {
            evaluation.set_initial_value(cfa);
        }
        let mut result = evaluation.evaluate().ok()?;
        loop {
            result = match result {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresRegister { register, .. } => {
                    let value = Value::Generic(self.get(register)?);
                    evaluation.resume_with_register(value).ok()?
                }
                EvaluationResult::RequiresMemory { address, .. } => {
                    // SAFETY: the obligation.
                    let value = Value::Generic(unsafe { self.read(address)? });
                    evaluation.resume_with_memory(value).ok()?
                }
                _ => return None,
            };
        }
        match evaluation.as_result().first()?.location {
            Location::Address { address } => Some(address),
            _ => None,
        }
    }
}
