//! From data to a tree of expressions, in which each variable is known for what it is.
//!
//! Special forms are taken apart here; the derived ones (`let*`, `cond`, `do` and others) are rewritten into a few basic ones, as data, and taken apart again. Names of primitive
//! procedures that no local variable hides stand for these, and cannot be defined anew.
//!
//! Like the reader this knows nothing of the heap.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use super::reader::Datum;

/// A local variable.
#[derive(Debug)]
pub struct Variable {
    /// What it is called.
    pub name: String,
    assigned: Cell<bool>,
    captured: Cell<bool>,
}

impl Variable {
    /// Whether its value is kept in a box: several closures may see it change.
    pub fn is_boxed(&self) -> bool {
        self.assigned.get() && self.captured.get()
    }
}

/// A procedure.
#[derive(Debug)]
pub struct Lambda {
    /// What it is called, for messages.
    pub name: String,
    /// Its parameters; the last one takes the rest if `has_rest`.
    pub parameters: Vec<Rc<Variable>>,
    /// Whether it takes any number of arguments.
    pub has_rest: bool,
    /// What it does.
    pub body: Node,
}

/// An expression.
#[derive(Debug)]
pub enum Node {
    /// Itself.
    Constant(Datum),
    /// Nothing worth having.
    Unspecified,
    /// The value of a local variable.
    Local(Rc<Variable>),
    /// The value of a global variable.
    Global(String),
    /// A primitive procedure as a value.
    Primitive(u32),
    /// Assignment.
    SetLocal(Rc<Variable>, Box<Node>),
    /// Assignment to a global variable; a definition if the flag is set.
    SetGlobal(String, Box<Node>, bool),
    /// Condition, then, else.
    If(Box<[Node; 3]>),
    /// A closure.
    Lambda(Rc<Lambda>),
    /// One after the other; not empty.
    Sequence(Vec<Node>),
    /// Variables and their first values, which are evaluated before any of them is there; and what they are for.
    Let(Vec<(Rc<Variable>, Node)>, Box<Node>),
    /// The same, with the variables there when the values are evaluated.
    Letrec(Vec<(Rc<Variable>, Node)>, Box<Node>),
    /// A call: the procedure and the arguments.
    Call(Box<Node>, Vec<Node>),
    /// A call of a primitive.
    PrimitiveCall(u32, Vec<Node>),
}

/// What is wrong with an expression.
pub type Wrong = String;

type Result<T> = std::result::Result<T, Wrong>;

/// The primitives by name: the number, and whether it may be called where it stands. (Otherwise it is called like a closure, because it calls one itself.)
pub type Primitives = HashMap<&'static str, (u32, bool)>;

/// Variables in sight.
struct Scope<'s> {
    variables: Vec<Rc<Variable>>,
    outer: Option<&'s Scope<'s>>,
    /// A closure begins here.
    is_procedure: bool,
}

impl Scope<'_> {
    fn find(&self, name: &str) -> Option<Rc<Variable>> {
        let (mut scope, mut is_captured) = (self, false);
        loop {
            if let Some(variable) = scope.variables.iter().rev().find(|v| v.name == name) {
                if is_captured {
                    variable.captured.set(true);
                }
                return Some(variable.clone());
            }
            is_captured |= scope.is_procedure;
            scope = scope.outer?;
        }
    }
}

fn variable(name: &str) -> Rc<Variable> {
    Rc::new(Variable {
        name: name.to_owned(),
        assigned: Cell::new(false),
        captured: Cell::new(false),
    })
}

fn symbol(name: &str) -> Datum {
    Datum::Symbol(name.to_owned())
}

fn list(items: impl IntoIterator<Item = Datum>) -> Datum {
    Datum::List(items.into_iter().collect())
}

fn form(name: &str, rest: impl IntoIterator<Item = Datum>) -> Datum {
    list(std::iter::once(symbol(name)).chain(rest))
}

fn name_of(datum: &Datum) -> Result<&str> {
    match datum {
        Datum::Symbol(name) => Ok(name),
        other => Err(format!("{other} is no name")),
    }
}

fn items_of(datum: &Datum) -> Result<&[Datum]> {
    match datum {
        Datum::List(items) => Ok(items),
        other => Err(format!("{other} is no list")),
    }
}

/// Takes expressions apart.
pub struct Expander<'p> {
    primitives: &'p Primitives,
}

impl Expander<'_> {
    /// One that knows these primitives.
    pub fn new(primitives: &Primitives) -> Expander<'_> {
        Expander { primitives }
    }

    /// An expression at the top of a program, as a procedure without parameters.
    ///
    /// # Errors
    /// If it is no expression.
    pub fn expand(&self, datum: &Datum) -> Result<Rc<Lambda>> {
        let scope = Scope {
            variables: Vec::new(),
            outer: None,
            is_procedure: true,
        };
        let body = self.node(datum, &scope)?;
        Ok(Rc::new(Lambda {
            name: "the program".to_owned(),
            parameters: Vec::new(),
            has_rest: false,
            body,
        }))
    }

    fn node(&self, datum: &Datum, scope: &Scope<'_>) -> Result<Node> {
        match datum {
            Datum::Symbol(name) => Ok(self.reference(name, scope)),
            Datum::List(items) => match items.split_first() {
                Some((Datum::Symbol(name), rest)) if scope.find(name).is_none() => self
                    .named(name, rest, scope)
                    .map_err(|why| match why.contains("\n") {
                        true => why,
                        false => format!("{why}\n  in {}", shortened(datum)),
                    }),
                Some((procedure, arguments)) => self.call(procedure, arguments, scope),
                None => Err("an empty list is no expression; quote it".to_owned()),
            },
            Datum::Dotted(..) => Err(format!("{datum} is no expression")),
            constant => Ok(Node::Constant(constant.clone())),
        }
    }

    fn nodes(&self, data: &[Datum], scope: &Scope<'_>) -> Result<Vec<Node>> {
        data.iter().map(|datum| self.node(datum, scope)).collect()
    }

    fn reference(&self, name: &str, scope: &Scope<'_>) -> Node {
        match (scope.find(name), self.primitives.get(name)) {
            (Some(variable), _) => Node::Local(variable),
            (None, Some((index, _))) => Node::Primitive(*index),
            (None, None) => Node::Global(name.to_owned()),
        }
    }

    fn call(&self, procedure: &Datum, arguments: &[Datum], scope: &Scope<'_>) -> Result<Node> {
        let arguments = self.nodes(arguments, scope)?;
        let procedure = self.node(procedure, scope)?;
        let is_direct = |index| self.primitives.values().any(|it| *it == (index, true));
        Ok(match procedure {
            Node::Primitive(index) if is_direct(index) => Node::PrimitiveCall(index, arguments),
            procedure => Node::Call(Box::new(procedure), arguments),
        })
    }

    /// A list that begins with a name that is no local variable's.
    fn named(&self, name: &str, rest: &[Datum], scope: &Scope<'_>) -> Result<Node> {
        match (name, rest) {
            ("quote", [datum]) => Ok(Node::Constant(datum.clone())),
            ("if", [condition, then]) => {
                let [condition, then] = [self.node(condition, scope)?, self.node(then, scope)?];
                Ok(Node::If(Box::new([condition, then, Node::Unspecified])))
            }
            ("if", [condition, then, otherwise]) => Ok(Node::If(Box::new([
                self.node(condition, scope)?,
                self.node(then, scope)?,
                self.node(otherwise, scope)?,
            ]))),
            ("define", [target, rest @ ..]) => {
                let (name, value) = definition(target, rest)?;
                if scope.outer.is_some() {
                    return Err("a definition that is not at the beginning of a body".to_owned());
                }
                self.set_global(&name, &value, true, scope)
            }
            ("set!", [target, value]) => {
                let name = name_of(target)?;
                match scope.find(name) {
                    Some(variable) => {
                        variable.assigned.set(true);
                        Ok(Node::SetLocal(variable, Box::new(self.node(value, scope)?)))
                    }
                    None => self.set_global(name, value, false, scope),
                }
            }
            ("lambda", [parameters, body @ ..]) => {
                self.lambda("a procedure", parameters, body, scope)
            }
            ("begin", []) => Ok(Node::Unspecified),
            ("begin", body) => Ok(Node::Sequence(self.nodes(body, scope)?)),
            ("let", [Datum::Symbol(name), bindings, body @ ..]) => {
                let bindings = pairs(bindings)?;
                let parameters = list(bindings.iter().map(|(name, _)| symbol(name)));
                let lambda = form(
                    "lambda",
                    std::iter::once(parameters).chain(body.iter().cloned()),
                );
                let letrec = form(
                    "letrec",
                    [list([list([symbol(name), lambda])]), symbol(name)],
                );
                let values = bindings.into_iter().map(|(_, value)| value);
                self.node(&list(std::iter::once(letrec).chain(values)), scope)
            }
            ("let", [bindings, body @ ..]) => {
                let (mut variables, mut values) = (Vec::new(), Vec::new());
                for (name, value) in pairs(bindings)? {
                    values.push(self.value(&name, &value, scope)?);
                    variables.push(variable(&name));
                }
                let body = self.body(body, &inner(&variables, scope))?;
                let bound = variables.into_iter().zip(values).collect();
                Ok(Node::Let(bound, Box::new(body)))
            }
            ("letrec", [bindings, body @ ..]) => self.letrec(pairs(bindings)?, body, scope),
            _ => match rewritten(name, rest)? {
                Some(other) => self.node(&other, scope),
                None => self.call(&symbol(name), rest, scope),
            },
        }
    }

    fn set_global(
        &self,
        name: &str,
        value: &Datum,
        defines: bool,
        scope: &Scope<'_>,
    ) -> Result<Node> {
        if self.primitives.contains_key(name) {
            return Err(format!(
                "{name} is a primitive procedure; it cannot be redefined"
            ));
        }
        let value = self.value(name, value, scope)?;
        Ok(Node::SetGlobal(name.to_owned(), Box::new(value), defines))
    }

    /// An expression whose value is to have a name.
    fn value(&self, name: &str, datum: &Datum, scope: &Scope<'_>) -> Result<Node> {
        match datum {
            Datum::List(items) => match &items[..] {
                [Datum::Symbol(lambda), parameters, body @ ..]
                    if lambda == "lambda" && scope.find("lambda").is_none() =>
                {
                    self.lambda(name, parameters, body, scope)
                }
                _ => self.node(datum, scope),
            },
            _ => self.node(datum, scope),
        }
    }

    fn lambda(
        &self,
        name: &str,
        parameters: &Datum,
        body: &[Datum],
        scope: &Scope<'_>,
    ) -> Result<Node> {
        let (names, rest): (&[Datum], Option<&Datum>) = match parameters {
            Datum::List(names) => (names, None),
            Datum::Dotted(names, rest) => (names, Some(rest)),
            rest => (&[], Some(rest)),
        };
        let names = names.iter().chain(rest).map(name_of);
        let parameters: Vec<Rc<Variable>> = names
            .map(|name| name.map(variable))
            .collect::<Result<_>>()?;
        let inside = Scope {
            is_procedure: true,
            ..inner(&parameters, scope)
        };
        let body = self.body(body, &inside)?;
        Ok(Node::Lambda(Rc::new(Lambda {
            name: name.to_owned(),
            parameters,
            has_rest: rest.is_some(),
            body,
        })))
    }

    fn letrec(
        &self,
        bindings: Vec<(String, Datum)>,
        body: &[Datum],
        scope: &Scope<'_>,
    ) -> Result<Node> {
        let variables: Vec<_> = bindings.iter().map(|(name, _)| variable(name)).collect();
        let inside = inner(&variables, scope);
        let mut bound = Vec::new();
        for (variable, (name, value)) in variables.iter().zip(&bindings) {
            // It is given its value when others may have captured it.
            variable.assigned.set(true);
            bound.push((variable.clone(), self.value(name, value, &inside)?));
        }
        let body = self.body(body, &inside)?;
        Ok(Node::Letrec(bound, Box::new(body)))
    }

    /// Expressions, with definitions before them, which are local.
    fn body(&self, body: &[Datum], scope: &Scope<'_>) -> Result<Node> {
        let is_definition = |datum: &&Datum| {
            let first = match datum {
                Datum::List(items) => items.first(),
                _ => None,
            };
            matches!(first, Some(Datum::Symbol(name)) if name == "define")
                && scope.find("define").is_none()
        };
        let count = body.iter().take_while(is_definition).count();
        let (definitions, rest) = body.split_at(count);
        if rest.is_empty() {
            return Err("a body without an expression".to_owned());
        }
        if definitions.is_empty() {
            let mut nodes = self.nodes(rest, scope)?;
            return Ok(match nodes.pop() {
                Some(only) if nodes.is_empty() => only,
                last => Node::Sequence(nodes.into_iter().chain(last).collect()),
            });
        }
        let bindings = definitions.iter().map(|datum| match items_of(datum)? {
            [_, target, rest @ ..] => definition(target, rest),
            _ => Err("a definition of nothing".to_owned()),
        });
        self.letrec(bindings.collect::<Result<_>>()?, rest, scope)
    }
}

fn inner<'s>(variables: &[Rc<Variable>], outer: &'s Scope<'s>) -> Scope<'s> {
    Scope {
        variables: variables.to_vec(),
        outer: Some(outer),
        is_procedure: false,
    }
}

/// Name and value of `(define name value)` or `(define (name parameters) body)`.
fn definition(target: &Datum, rest: &[Datum]) -> Result<(String, Datum)> {
    let (name, parameters) = match (target, rest) {
        (Datum::Symbol(name), [value]) => return Ok((name.clone(), value.clone())),
        (Datum::List(items), _) if !items.is_empty() => {
            (name_of(&items[0])?, list(items[1..].iter().cloned()))
        }
        (Datum::Dotted(items, rest), _) if items.len() == 1 => {
            (name_of(&items[0])?, (**rest).clone())
        }
        (Datum::Dotted(items, rest), _) => {
            let parameters = Datum::Dotted(items[1..].to_vec(), rest.clone());
            (name_of(&items[0])?, parameters)
        }
        _ => return Err("a definition is of a name and a value, or of a procedure".to_owned()),
    };
    let lambda = form(
        "lambda",
        std::iter::once(parameters).chain(rest.iter().cloned()),
    );
    Ok((name.to_owned(), lambda))
}

/// `((name value) ...)`
fn pairs(datum: &Datum) -> Result<Vec<(String, Datum)>> {
    let pair = |datum: &Datum| match items_of(datum)? {
        [name, value] => Ok((name_of(name)?.to_owned(), value.clone())),
        _ => Err(format!("{datum} is not a name and a value")),
    };
    items_of(datum)?.iter().map(pair).collect()
}

/// A derived form as what it stands for; `None` if this is not the name of one.
fn rewritten(name: &str, rest: &[Datum]) -> Result<Option<Datum>> {
    let tail = |from: usize| rest[from..].iter().cloned();
    let begin = |body: &[Datum]| form("begin", body.iter().cloned());
    Ok(Some(match (name, rest) {
        ("let*", [bindings, _, ..]) => match items_of(bindings)? {
            [] | [_] => form("let", rest.iter().cloned()),
            [first, more @ ..] => {
                let more = list(more.iter().cloned());
                let inside = form("let*", std::iter::once(more).chain(tail(1)));
                form("let", [list([first.clone()]), inside])
            }
        },
        ("and", []) => Datum::Truth(true),
        ("and" | "or", [only]) => only.clone(),
        ("and", [first, ..]) => form(
            "if",
            [first.clone(), form("and", tail(1)), Datum::Truth(false)],
        ),
        ("or", []) => Datum::Truth(false),
        ("or", [first, ..]) => {
            // The name is none that a program could write.
            let held = symbol("(or)");
            let otherwise = form("or", tail(1));
            let choice = form("if", [held.clone(), held.clone(), otherwise]);
            form("let", [list([list([held, first.clone()])]), choice])
        }
        ("when", [condition, body @ ..]) => form("if", [condition.clone(), begin(body)]),
        ("unless", [condition, body @ ..]) => {
            form("if", [condition.clone(), begin(&[]), begin(body)])
        }
        ("cond", []) => form("begin", []),
        ("cond", [clause, ..]) => match items_of(clause)? {
            [Datum::Symbol(name), body @ ..] if name == "else" => begin(body),
            [condition] => form("or", [condition.clone(), form("cond", tail(1))]),
            [condition, body @ ..] => form(
                "if",
                [condition.clone(), begin(body), form("cond", tail(1))],
            ),
            [] => return Err("an empty clause".to_owned()),
        },
        ("do", [variables, ending, body @ ..]) => {
            let (mut bindings, mut steps) = (Vec::new(), Vec::new());
            for variable in items_of(variables)? {
                match items_of(variable)? {
                    [name, value] => {
                        bindings.push(list([name.clone(), value.clone()]));
                        steps.push(name.clone());
                    }
                    [name, value, step] => {
                        bindings.push(list([name.clone(), value.clone()]));
                        steps.push(step.clone());
                    }
                    _ => return Err(format!("{variable} is not a name, a value and a step")),
                }
            }
            let [condition, results @ ..] = items_of(ending)? else {
                return Err("a loop without a condition to end by".to_owned());
            };
            let next = list(std::iter::once(symbol("(do)")).chain(steps));
            let body = form("begin", body.iter().cloned().chain([next]));
            let test = form("if", [condition.clone(), begin(results), body]);
            form("let", [symbol("(do)"), list(bindings), test])
        }
        ("quasiquote", [template]) => quasiquoted(template)?,
        _ => return Ok(None),
    }))
}

/// A template with holes as an expression that makes what it describes. Lists only.
fn quasiquoted(template: &Datum) -> Result<Datum> {
    match template {
        Datum::List(items) => match &items[..] {
            [Datum::Symbol(unquote), value] if unquote == "unquote" => Ok(value.clone()),
            [] => Ok(form("quote", [list([])])),
            [first, rest @ ..] => {
                let rest = quasiquoted(&list(rest.iter().cloned()))?;
                Ok(form("cons", [quasiquoted(first)?, rest]))
            }
        },
        atom => Ok(form("quote", [atom.clone()])),
    }
}

fn shortened(datum: &Datum) -> String {
    let text = datum.to_string();
    match text.char_indices().nth(70) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
