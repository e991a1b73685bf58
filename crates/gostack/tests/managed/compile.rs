//! The compiler: structured programs to bytecode, with an account of which slots hold addresses at each place.
//!
//! Names are numbers taken modulo what there is, so that every tree is a program.

use crate::machine::{Arithmetic, Function, Kind, Op, Program};

#[derive(Debug, Clone)]
pub enum Expr {
    Const(i8),
    Int(u8),
    Read(Place),
    Both(u8, Box<Expr>, Box<Expr>),
    /// A function, what its `Int`s get, and a number that chooses what its other parameters get.
    Call(u8, Vec<Expr>, u8),
    CallClosure(u8, Box<Expr>),
}

/// Something that is or has an address: an own `Int`, an own `Ref`, a captured one.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    Own(u8),
    Ref(u8),
    Captured(u8),
}

#[derive(Debug, Clone)]
pub enum Stmt {
    Set(u8, Expr),
    SetRef(u8, Place),
    Write(Place, Expr),
    Repeat(u8, Vec<Stmt>),
    Unless(Expr, Vec<Stmt>),
    Defer(Place, i8),
    Wait(Place),
    Wake(Expr),
    Collect,
}

#[derive(Debug, Clone)]
pub struct Tree {
    pub params: Vec<Kind>,
    pub ints: u8,
    pub refs: u8,
    /// Closures made at the start: which function, and what each captures.
    pub closures: Vec<(u8, [Place; CAPTURES])>,
    pub body: Vec<Stmt>,
    pub result: Expr,
}

/// How many places each closure captures.
pub const CAPTURES: usize = 2;
/// What a function takes that closures are made of.
pub const CLOSURE_PARAMS: [Kind; 2] = [Kind::Int, Kind::Closure];

/// Compiles functions; the first is where programs start and takes an `Int`.
pub fn compile(trees: &[Tree]) -> Program {
    let params: Vec<Vec<Kind>> = trees.iter().map(|tree| tree.params.clone()).collect();
    let functions = trees
        .iter()
        .map(|tree| Body::new(&params, tree).finish(tree));
    Program {
        functions: functions.collect(),
    }
}

/// A function being compiled.
struct Body<'a> {
    signatures: &'a [Vec<Kind>],
    /// Functions that closures can be made of.
    makeable: Vec<usize>,
    ints: Vec<i32>,
    refs: Vec<i32>,
    /// Slots that hold closures: parameters.
    closures: Vec<i32>,
    /// Slots of closures' records.
    records: Vec<i32>,
    locals: Vec<Kind>,
    operands: Vec<Kind>,
    most: usize,
    code: Vec<Op>,
    counts: Vec<u32>,
    pointers: Vec<Vec<i32>>,
    entry_pointers: Vec<i32>,
}

impl<'a> Body<'a> {
    fn new(signatures: &'a [Vec<Kind>], tree: &Tree) -> Self {
        let mut body = Self {
            signatures,
            makeable: (0..signatures.len())
                .filter(|&f| signatures[f] == CLOSURE_PARAMS)
                .collect(),
            ints: Vec::new(),
            refs: Vec::new(),
            closures: Vec::new(),
            records: Vec::new(),
            locals: Vec::new(),
            operands: Vec::new(),
            most: 0,
            code: Vec::new(),
            counts: Vec::new(),
            pointers: Vec::new(),
            entry_pointers: Vec::new(),
        };
        for (slot, kind) in (2..).zip(&tree.params) {
            match kind {
                Kind::Int => body.ints.push(slot),
                Kind::Ref => body.refs.push(slot),
                Kind::Closure => body.closures.push(slot),
            }
            if *kind != Kind::Int {
                body.entry_pointers.push(slot);
            }
        }
        for _ in 0..tree.ints.max(1) {
            let slot = body.local(Kind::Int);
            body.ints.push(slot);
        }
        let own_refs: Vec<i32> = (0..tree.refs.max(1))
            .map(|_| body.local(Kind::Ref))
            .collect();
        // Locals are all there before the first instruction, so that the operands have their place.
        for _ in &tree.closures {
            let record = body.local(Kind::Int);
            (0..CAPTURES).for_each(|_| _ = body.local(Kind::Ref));
            body.records.push(record);
        }
        let loops = count_loops(&tree.body);
        let counters: Vec<i32> = (0..loops).map(|_| body.local(Kind::Int)).collect();
        for (i, slot) in (0..).zip(own_refs) {
            body.place(Place::Own(i));
            body.emit(Op::Store(slot));
            body.refs.push(slot);
        }
        for (i, (function, captured)) in tree.closures.iter().enumerate() {
            let record = body.records[i];
            let function = body.makeable[usize::from(*function) % body.makeable.len()];
            body.emit(Op::Push(function as i64));
            body.emit(Op::Store(record));
            for (k, place) in (1..).zip(captured) {
                body.place(*place);
                body.emit(Op::Store(record - k));
            }
        }
        let mut counters = counters.into_iter();
        body.stmts(&tree.body, &mut counters);
        body
    }

    fn finish(mut self, tree: &Tree) -> Function {
        self.expr(&tree.result);
        self.emit(Op::Return);
        Function {
            params: tree.params.clone(),
            locals: self.locals.len() as u32,
            frame: (self.locals.len() + self.most) as u32,
            code: self.code,
            operands: self.counts,
            pointers: self.pointers,
            entry_pointers: self.entry_pointers,
        }
    }

    fn local(&mut self, kind: Kind) -> i32 {
        self.locals.push(kind);
        -(self.locals.len() as i32)
    }

    /// Appends an instruction, and notes what the frame is like before it.
    fn emit(&mut self, op: Op) {
        let pointer = |kind: &Kind| *kind != Kind::Int;
        let below = (1..).zip(self.locals.iter().chain(&self.operands));
        let here = below.filter(|(_, kind)| pointer(kind)).map(|(n, _)| -n);
        self.pointers
            .push(self.entry_pointers.iter().copied().chain(here).collect());
        self.counts.push(self.operands.len() as u32);
        self.code.push(op);
        match op {
            Op::Push(_) => self.operands.push(Kind::Int),
            Op::Load(slot) => self.operands.push(self.kind_of(slot)),
            Op::AddressOf(slot) if self.records.contains(&slot) => {
                self.operands.push(Kind::Closure)
            }
            Op::AddressOf(_) => self.operands.push(Kind::Ref),
            Op::Read => self.replace(1, Some(Kind::Int)),
            Op::Capture(_) => self.replace(1, Some(Kind::Ref)),
            Op::Arithmetic(_) => self.replace(2, Some(Kind::Int)),
            Op::Write | Op::Defer => self.replace(2, None),
            Op::Store(_) | Op::BranchIfZero(_) | Op::Wait | Op::Wake | Op::Return => {
                self.replace(1, None)
            }
            Op::Call(function) => self.replace(self.signatures[function].len(), Some(Kind::Int)),
            Op::CallClosure => self.replace(CLOSURE_PARAMS.len(), Some(Kind::Int)),
            Op::Jump(_) | Op::Collect => {}
        }
        self.most = self.most.max(self.operands.len());
    }

    fn replace(&mut self, count: usize, by: Option<Kind>) {
        self.operands.truncate(self.operands.len() - count);
        self.operands.extend(by);
    }

    fn kind_of(&self, slot: i32) -> Kind {
        match usize::try_from(slot) {
            Ok(_) if self.closures.contains(&slot) => Kind::Closure,
            Ok(_) if self.refs.contains(&slot) => Kind::Ref,
            Ok(_) => Kind::Int,
            Err(_) => self.locals[(-slot - 1) as usize],
        }
    }

    /// Leaves a `Ref`.
    fn place(&mut self, place: Place) {
        match place {
            Place::Captured(index) if !self.closures.is_empty() => {
                let closure = choose(&self.closures, index);
                self.emit(Op::Load(closure));
                self.emit(Op::Capture(u32::from(index) % CAPTURES as u32));
            }
            Place::Ref(index) | Place::Captured(index) if !self.refs.is_empty() => {
                let slot = choose(&self.refs, index);
                self.emit(Op::Load(slot));
            }
            Place::Own(index) | Place::Ref(index) | Place::Captured(index) => {
                let slot = choose(&self.ints, index);
                self.emit(Op::AddressOf(slot));
            }
        }
    }

    /// Leaves a closure: one that came from a caller, or an own one.
    fn closure(&mut self, index: u8) {
        let (own, given) = (self.records.len(), self.closures.len());
        let index = usize::from(index) % (own + given);
        if index < own {
            self.emit(Op::AddressOf(self.records[index]));
        } else {
            self.emit(Op::Load(self.closures[index - own]));
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Const(value) => self.emit(Op::Push((*value).into())),
            Expr::Int(index) => {
                let slot = choose(&self.ints, *index);
                self.emit(Op::Load(slot));
            }
            Expr::Read(place) => {
                self.place(*place);
                self.emit(Op::Read);
            }
            Expr::Both(which, a, b) => {
                self.expr(a);
                self.expr(b);
                let all = [
                    Arithmetic::Add,
                    Arithmetic::Sub,
                    Arithmetic::Mul,
                    Arithmetic::Xor,
                ];
                self.emit(Op::Arithmetic(all[usize::from(*which) % all.len()]));
            }
            Expr::Call(function, numbers, other) => {
                let function = usize::from(*function) % self.signatures.len();
                let mut numbers = numbers.iter().rev();
                // The last argument first, so that the first is lowest.
                for kind in self.signatures[function].iter().rev() {
                    match kind {
                        Kind::Int => match numbers.next() {
                            Some(number) => self.expr(number),
                            None => self.emit(Op::Push((*other).into())),
                        },
                        Kind::Ref if other % 2 == 0 => self.place(Place::Own(*other / 2)),
                        Kind::Ref => self.place(Place::Ref(*other / 2)),
                        Kind::Closure => self.closure(*other),
                    }
                }
                self.emit(Op::Call(function));
            }
            Expr::CallClosure(index, number) => {
                self.closure(*index);
                self.expr(number);
                self.emit(Op::CallClosure);
            }
        }
    }

    fn stmts(&mut self, stmts: &[Stmt], counters: &mut impl Iterator<Item = i32>) {
        for stmt in stmts {
            self.stmt(stmt, counters);
        }
    }

    fn stmt(&mut self, stmt: &Stmt, counters: &mut impl Iterator<Item = i32>) {
        match stmt {
            Stmt::Set(index, expr) => {
                self.expr(expr);
                let slot = choose(&self.ints, *index);
                self.emit(Op::Store(slot));
            }
            Stmt::SetRef(index, place) => {
                self.place(*place);
                let slot = choose(&self.refs, *index);
                self.emit(Op::Store(slot));
            }
            Stmt::Write(place, expr) => {
                self.place(*place);
                self.expr(expr);
                self.emit(Op::Write);
            }
            Stmt::Repeat(times, body) => {
                let counter = counters.next().expect("one for each loop");
                self.emit(Op::Push(i64::from(*times % 5)));
                self.emit(Op::Store(counter));
                let start = self.code.len();
                self.emit(Op::Load(counter));
                let branch = self.code.len();
                self.emit(Op::BranchIfZero(0));
                self.stmts(body, counters);
                self.emit(Op::Load(counter));
                self.emit(Op::Push(1));
                self.emit(Op::Arithmetic(Arithmetic::Sub));
                self.emit(Op::Store(counter));
                self.emit(Op::Jump(start));
                self.code[branch] = Op::BranchIfZero(self.code.len());
            }
            Stmt::Unless(expr, body) => {
                self.expr(expr);
                let branch = self.code.len();
                self.emit(Op::BranchIfZero(0));
                self.stmts(body, counters);
                self.code[branch] = Op::BranchIfZero(self.code.len());
            }
            Stmt::Defer(place, add) => {
                self.place(*place);
                self.emit(Op::Push((*add).into()));
                self.emit(Op::Defer);
            }
            Stmt::Wait(place) => {
                self.place(*place);
                self.emit(Op::Wait);
            }
            Stmt::Wake(expr) => {
                self.expr(expr);
                self.emit(Op::Wake);
            }
            Stmt::Collect => self.emit(Op::Collect),
        }
    }
}

fn choose(slots: &[i32], index: u8) -> i32 {
    slots[usize::from(index) % slots.len()]
}

fn count_loops(stmts: &[Stmt]) -> usize {
    let count = |stmt: &Stmt| match stmt {
        Stmt::Repeat(_, body) => 1 + count_loops(body),
        Stmt::Unless(_, body) => count_loops(body),
        _ => 0,
    };
    stmts.iter().map(count).sum()
}
