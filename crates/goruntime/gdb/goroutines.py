"""Goroutines in gdb: (gdb) source crates/goruntime/gdb/goroutines.py

    goroutines          lists them: number, state, what it waits for, name, where it goes on
    goroutine N [cmd]   runs a command as if goroutine N ran here: `bt` if none is given

The program needs debug information (`debug = true`), and a process: the registers of a core file cannot be set.
A goroutine that runs is on a thread, and seen there: `info threads`. A parked one has saved three words below its stack
pointer (crates/gostack/src/context.rs): where it goes on, rbx, rbp.
"""

import gdb

SCHEDULER = "goruntime::runtime::scheduler::SCHEDULER"
GOROUTINE = "gosched::sched::goroutine::Goroutine<goruntime::compose::env::GoEnv>"
POOLED, RUNNABLE, RUNNING, SAVED = 0, 1, 2, 8
WORD = 8


def fields_with_bytes(value):
    return [f for f in value.type.fields() if getattr(f, "type", None) is not None and f.type.sizeof > 0]


def inner(value):
    """What is left of a value when every wrapper around it is taken off: atomics, cells, memory that may be uninitialised."""
    value = value.cast(value.type.strip_typedefs())
    while value.type.code in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION):
        fields = fields_with_bytes(value)
        if len(fields) != 1:
            break
        value = value[fields[0]]
        value = value.cast(value.type.strip_typedefs())
    return value


def find(value, kind):
    """The first part of a value whose type's name contains `kind`."""
    if value.type.name and kind in value.type.name:
        return value
    if value.type.code in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION):
        for field in fields_with_bytes(value):
            found = find(value[field], kind)
            if found is not None:
                return found
    return None


def scheduler():
    symbol = gdb.lookup_global_symbol(SCHEDULER) or gdb.lookup_static_symbol(SCHEDULER)
    if symbol is None:
        raise gdb.GdbError("there is no %s: is this a program on goruntime, with debug information?" % SCHEDULER)
    pointer = inner(symbol.value()["value"])
    if int(pointer) == 0:
        raise gdb.GdbError("the scheduler has not started")
    return pointer.dereference()


class Goroutine:
    def __init__(self, value):
        self.header = value["header"]
        self.number = int(inner(self.header["id"]))
        self.status = int(inner(self.header["status"]))
        context = find(value["context"], "gostack::context::Context")
        self.sp = int(inner(context["sp"])) if context is not None else 0

    def is_off_thread(self):
        return self.status == RUNNABLE or self.status & SAVED != 0

    def state(self):
        if self.status == RUNNABLE:
            return "runnable"
        if self.status == RUNNING:
            return "running"
        return "waiting" if self.status & SAVED else "parking"

    def registers(self):
        """Where it goes on, rbx, rbp and the stack pointer."""
        memory = gdb.selected_inferior().read_memory(self.sp - 3 * WORD, 3 * WORD)
        words = [int.from_bytes(memory[i : i + WORD].tobytes(), "little") for i in (0, WORD, 2 * WORD)]
        return {"rip": words[0], "rbx": words[1], "rbp": words[2], "rsp": self.sp}


def goroutines():
    header = inner(scheduler()["all"])
    kind = gdb.lookup_type(GOROUTINE)
    offset = next(f.bitpos // 8 for f in kind.fields() if f.name == "header")
    while int(header) != 0:
        address = int(header) - offset
        goroutine = Goroutine(gdb.Value(address).cast(kind.pointer()).dereference())
        if goroutine.status != POOLED:
            yield goroutine
        header = inner(header.dereference()["all_next"])


class List(gdb.Command):
    """List the goroutines of a program on goruntime."""

    def __init__(self):
        super().__init__("goroutines", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        for goroutine in sorted(goroutines(), key=lambda g: g.number):
            line = "%6d  %-9s" % (goroutine.number, goroutine.state())
            if goroutine.is_off_thread() and goroutine.sp:
                at = goroutine.registers()["rip"]
                line += "  %#x %s" % (at, gdb.execute("info symbol %d" % at, to_string=True).strip())
            print(line)


class Select(gdb.Command):
    """Run a command as a goroutine that is not on a thread: goroutine N [command], `bt` by default."""

    def __init__(self):
        super().__init__("goroutine", gdb.COMMAND_STACK)

    def invoke(self, argument, from_tty):
        words = argument.split(None, 1)
        if not words or not words[0].isdigit():
            raise gdb.GdbError("which one? `goroutines` lists them")
        chosen = [g for g in goroutines() if g.number == int(words[0])]
        if not chosen:
            raise gdb.GdbError("there is no goroutine %s" % words[0])
        if not chosen[0].is_off_thread() or not chosen[0].sp:
            raise gdb.GdbError("goroutine %s is on a thread: see `info threads`" % words[0])
        gdb.execute("select-frame 0", to_string=True)
        names = ("rip", "rsp", "rbp", "rbx")
        before = {name: int(gdb.parse_and_eval("$" + name).cast(gdb.lookup_type("unsigned long"))) for name in names}
        try:
            self.set(chosen[0].registers())
            gdb.execute(words[1] if len(words) > 1 else "bt")
        finally:
            gdb.execute("select-frame 0", to_string=True)
            self.set(before)

    @staticmethod
    def set(registers):
        # The stack pointer last: gdb forgets its frames at each assignment.
        for name in ("rbx", "rbp", "rip", "rsp"):
            gdb.execute("set $%s = %d" % (name, registers[name]), to_string=True)


List()
Select()
