"""The program of a sandbox process: strangers' jq, JSON Schemas and patterns run here and nowhere else.

Started by `sandbox/process.py` as `python -I sandbox_worker.py <socket> <parent>`. It first gives up everything it does not need
(`confine`), says so, and then answers one frame after the other. Texts go in, texts come out; it knows nothing of accounts
and keeps nothing but compiled programs and validators. It imports nothing of this project, because it runs alone.
"""

import ctypes
import gc
import json
import os
import platform
import resource
import signal
import socket
import struct
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jq
import jsonschema_rs

MEBIBYTE = 1024 * 1024

ADDRESS_SPACE = 256 * MEBIBYTE
"""A fresh worker maps about 30 MiB; past this limit an allocation fails and the process ends."""
OUTPUT_LIMIT = MEBIBYTE
RETIREMENT_MEMORY = 128 * MEBIBYTE
"""A worker this big after a frame is replaced: a heap that grew hardly shrinks."""
PROGRAM_CACHE = 2_000  # compiled jq programs; about 12 KiB each
VALIDATOR_CACHE = 500
GUARD_SECONDS = 3  # when the parent is too stuck to enforce its own second
DETAIL_LIMIT = 2_000  # characters of an error's text
VIOLATION_LIMIT = 100
MESSAGE_LIMIT = 300
PATTERN_SIZE = MEBIBYTE  # bytes of one compiled pattern, and of its lazy automaton
NOBODY = 65534

REQUEST = struct.Struct("!IH")  # length of what follows the length, number of items
ITEM = struct.Struct("!BII")  # kind, bytes of its first and of its second text, which follow
ANSWER = struct.Struct("!IB")  # length of the payload, status
SIZE = struct.Struct("!I")
FLUSH_BYTES = 65536  # of answers; fewer wait for the others of their frame

EVALUATE, COMPILE, CHECK_SCHEMA, VALIDATE = range(4)
VALUE, FAILED, TOO_LARGE, END, READY, REFUSED = range(6)

OUT_OF_MEMORY = 3
"""Exit status when Python itself, not jq, ran out of memory (jq calls abort)."""


class Item(NamedTuple):
    """One piece of work on the wire: its kind and the two texts that the kind asks for."""

    kind: int
    first: bytes
    second: bytes


class Answer(NamedTuple):
    """One item's outcome on the wire."""

    status: int
    payload: bytes


# --- jq -------------------------------------------------------------------------------------------------------------


class Recent(OrderedDict[str, Any]):
    """The things made most recently, by the text they were made from."""

    def __init__(self, make: Callable[[str], Any], limit: int) -> None:
        super().__init__()
        self.make = make
        self.limit = limit

    def of(self, text: str) -> Any:
        """The thing made of `text`: kept, or made now at the cost of the one unused for longest."""
        found = self.get(text)
        if found is not None:
            self.move_to_end(text)
            return found
        made = self[text] = self.make(text)
        if len(self) > self.limit:
            self.popitem(last=False)
        return made


programs = Recent(jq.compile, PROGRAM_CACHE)


def evaluate(program: str, document: str) -> Answer:
    """Run a wrapped program; it ends in `tojson`, so that no value is ever converted to Python here."""
    return Answer(VALUE, programs.of(program).input_text(document).first().encode())


def compile_program(program: str, _: str) -> Answer:
    """Say whether a program compiles; a failure carries jq's text. Not cached: the wrapped form is what runs later."""
    jq.compile(program)
    return Answer(VALUE, b"")


# --- JSON Schema ----------------------------------------------------------------------------------------------------


def validator_of(schema: Any) -> Any:
    """A validator that fetches nothing, matches patterns in linear time, and keeps values out of its messages."""
    return jsonschema_rs.validator_for(
        schema,
        mask="the value",
        offline=True,
        pattern_options=jsonschema_rs.RegexOptions(size_limit=PATTERN_SIZE, dfa_size_limit=PATTERN_SIZE),
    )


def shortened(message: str) -> str:
    """A message of a bounded length: lists of allowed or unexpected names may be as long as an account likes."""
    return message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 1] + "…"


def violations(validator: Any, value: Any) -> list[dict[str, Any]]:
    """What is wrong with `value`: path, keyword and message of each violation, as many as anyone will read."""
    found: list[dict[str, Any]] = []
    for error in validator.iter_errors(value):
        found += entries(error)
        if len(found) >= VIOLATION_LIMIT:
            break
    return found[:VIOLATION_LIMIT]


def entries(error: Any) -> list[dict[str, Any]]:
    """Say what is wrong, once for each property: the path leads to a missing or unknown one itself."""
    keyword, path = error.kind.name, error.instance_path
    if keyword == "required":
        return [{"path": [*path, error.kind.property], "keyword": keyword, "message": "is required"}]
    if keyword in ("additionalProperties", "unevaluatedProperties"):
        return [
            {"path": [*path, name], "keyword": keyword, "message": "is not known here"}
            for name in error.kind.unexpected
        ]
    return [{"path": path, "keyword": keyword, "message": shortened(error.message)}]


DATA_KEYWORDS = frozenset({"const", "default", "enum", "examples"})


def references(schema: Any) -> Iterator[str]:
    """Every `$ref` and `$dynamicRef` of a schema. Data inside it (`const`, `default`) refers to nothing."""
    waiting = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, dict):
            yield from (
                node[word]
                for word in ("$ref", "$dynamicRef", "$recursiveRef")
                if isinstance(node.get(word), str)
            )
            waiting.extend(child for word, child in node.items() if word not in DATA_KEYWORDS)


def check_schema(text: str, _: str) -> Answer:
    """Say what is wrong with a schema: a reference to elsewhere, a wrong keyword, a pattern the engine cannot run."""
    schema = json.loads(text)
    for reference in references(schema):
        if not reference.startswith("#"):
            message = f"$ref {json.dumps(reference)} leads outside of this schema; only references beginning with # are allowed"
            return Answer(FAILED, shortened(message).encode())
    try:
        validators.of(text)
    except jsonschema_rs.ValidationError as error:
        return Answer(FAILED, schema_problem(schema, error).encode(errors="replace"))
    return Answer(VALUE, b"")


def schema_problem(schema: Any, error: Any) -> str:
    """One sentence for the author of a refused schema: where, and what."""
    path = error.instance_path
    # A bad name in patternProperties is a key: the path ends in what cannot be read, and leads to what it is for.
    found = (
        path[-1] if path[-2:-1] == ["patternProperties"] and "regex" in error.message else at(schema, path)
    )
    shown = json.dumps(found)
    shown = shown if len(shown) <= 60 else shown[:59] + "…"
    if "regex" in error.message:
        what = f"the pattern {shown} is not supported (no look-around, back-references or huge repetitions)"
    else:
        what = error.message.replace("the value", shown)
    where = "".join(f"/{part}" for part in path)
    return shortened(f"{where}: {what}" if where else what)


def at(value: Any, path: list[str | int]) -> Any:
    """The part of a JSON value at a path."""
    for part in path:
        value = value[part]
    return value


validators = Recent(lambda text: validator_of(json.loads(text)), VALIDATOR_CACHE)


def validate(schema: str, value: str) -> Answer:
    """Say what is wrong with a value, as a JSON list of violations."""
    found = violations(validators.of(schema), json.loads(value))
    return Answer(VALUE, json.dumps(found).encode())


# --- Frames ---------------------------------------------------------------------------------------------------------

VERBS: dict[int, Callable[[str, str], Answer]] = {
    EVALUATE: evaluate,
    COMPILE: compile_program,
    CHECK_SCHEMA: check_schema,
    VALIDATE: validate,
}


def answer(kind: int, first: str, second: str) -> Answer:
    """The outcome of one item, whatever it is."""
    try:
        outcome = VERBS[kind](first, second)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except jsonschema_rs.ValidationError as error:  # its text has several lines, and its message one
        return Answer(FAILED, shortened(error.message).encode(errors="replace"))
    except Exception as error:  # noqa: BLE001 - the text of whatever went wrong is the answer
        return Answer(FAILED, str(error)[:DETAIL_LIMIT].encode(errors="replace"))
    return outcome if len(outcome.payload) <= OUTPUT_LIMIT else Answer(TOO_LARGE, b"")


def packed(outcome: Answer) -> bytes:
    """An answer as bytes."""
    return ANSWER.pack(len(outcome.payload), outcome.status) + outcome.payload


def items(frame: bytes) -> Iterator[tuple[int, str, str]]:
    """The kind and the two texts of each item in a frame."""
    _, count = REQUEST.unpack_from(frame)
    position = REQUEST.size
    for _ in range(count):
        kind, size, other = ITEM.unpack_from(frame, position)
        middle = position + ITEM.size + size
        first = frame[position + ITEM.size : middle].decode()
        position = middle + other
        yield kind, first, frame[middle:position].decode()


def received(connection: socket.socket) -> bytes:
    """The next frame; ends the process when the parent has closed its side."""
    frame = b""
    wanted = REQUEST.size
    while len(frame) < wanted:
        chunk = connection.recv(max(65536, wanted - len(frame)))
        if not chunk:
            os._exit(0)
        frame += chunk
        if wanted == REQUEST.size and len(frame) >= wanted:
            wanted = SIZE.size + SIZE.unpack_from(frame)[0]
    return frame


class Memory:
    """How much memory this process holds.

    On Linux from a file opened while that is still possible: getrusage's peak starts at the *parent's* size there.
    """

    def __init__(self) -> None:
        self.file = open("/proc/self/statm", "rb", buffering=0) if sys.platform == "linux" else None  # noqa: PTH123, SIM115
        self.page = resource.getpagesize()

    def held(self) -> int:
        """Bytes in memory now, or at the peak where only that is known."""
        if self.file is None:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(os.pread(self.file.fileno(), 64, 0).split()[1]) * self.page


def serve(connection: socket.socket, memory: Memory) -> None:
    """Answer frames until the parent goes away.

    The answers of a frame leave together, with the end mark, whose payload asks for retirement: each packet wakes the
    parent. The parent finds out by itself which of several items was to blame when it has to kill.
    """
    while True:
        frame = received(connection)
        signal.alarm(GUARD_SECONDS)
        ready = bytearray()
        for kind, first, second in items(frame):
            ready += packed(answer(kind, first, second))
            if len(ready) > FLUSH_BYTES:
                connection.sendall(ready)
                ready.clear()
        connection.sendall(ready + packed(Answer(END, bytes([memory.held() > RETIREMENT_MEMORY]))))
        signal.alarm(0)


# --- Confinement ----------------------------------------------------------------------------------------------------

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2
AUDIT_ARCH_X86_64 = 0xC000003E
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050001, 0x80000000  # REFUSE answers EPERM
LOAD_WORD, IF_EQUAL, RETURN = 0x20, 0x15, 0x06
OFFSET_OF_NUMBER, OFFSET_OF_ARCHITECTURE, OFFSET_OF_FIRST_ARGUMENT = 0, 4, 16

# Linux x86-64 system call numbers, the frequent ones first. Nothing here opens, connects, forks, executes or signals.
SYSTEM_CALLS = {
    "recvfrom": 45,
    "sendto": 44,
    "alarm": 37,
    "setitimer": 38,
    "getrusage": 98,
    "pread64": 17,
    "futex": 202,
    "brk": 12,
    "mmap": 9,
    "munmap": 11,
    "mremap": 25,
    "mprotect": 10,
    "madvise": 28,
    "poll": 7,
    "rt_sigaction": 13,
    "rt_sigprocmask": 14,
    "rt_sigreturn": 15,
    "sigaltstack": 131,
    "sched_yield": 24,
    "getpid": 39,
    "gettid": 186,
    "gettimeofday": 96,
    "time": 201,
    "clock_gettime": 228,
    "clock_getres": 229,
    "getrandom": 318,
    "restart_syscall": 219,
    "rseq": 334,
    "exit": 60,
    "exit_group": 231,
}
TGKILL = 234  # how abort() raises its signal: allowed on this process only


class ConfinementError(Exception):
    """A part of the confinement that this machine does not give; the worker then never serves."""


def instruction(code: int, value: int, if_equal: int = 0, otherwise: int = 0) -> bytes:
    """One `struct sock_filter`."""
    return struct.pack("=HBBI", code, if_equal, otherwise, value)


def system_call_filter(own: int) -> bytes:
    """The allow-list as a BPF program; every other call answers EPERM, another architecture's calls kill."""
    program = [
        instruction(LOAD_WORD, OFFSET_OF_ARCHITECTURE),
        instruction(IF_EQUAL, AUDIT_ARCH_X86_64, 1, 0),
        instruction(RETURN, KILL),
        instruction(LOAD_WORD, OFFSET_OF_NUMBER),
    ]
    for number in SYSTEM_CALLS.values():
        program += [instruction(IF_EQUAL, number, 0, 1), instruction(RETURN, ALLOW)]
    program += [
        instruction(IF_EQUAL, TGKILL, 0, 3),
        instruction(LOAD_WORD, OFFSET_OF_FIRST_ARGUMENT),
        instruction(IF_EQUAL, own, 0, 1),
        instruction(RETURN, ALLOW),
        instruction(RETURN, REFUSE),
    ]
    return b"".join(program)


class FilterProgram(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def control(option: int, *arguments: Any) -> None:
    """Call prctl(2), or refuse to go on."""
    library = ctypes.CDLL(None, use_errno=True)
    padding = (ctypes.c_ulong(0),) * (4 - len(arguments))
    if library.prctl(option, *arguments, *padding) != 0:
        raise ConfinementError(f"prctl({option}) failed: {os.strerror(ctypes.get_errno())}")


def limit_resources() -> None:
    """No cores, no files, no children, bounded memory. Only Linux bounds memory: development elsewhere goes without."""
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 16,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
    }
    if sys.platform == "linux":
        limits[resource.RLIMIT_AS] = ADDRESS_SPACE
    for what, limit in limits.items():
        resource.setrlimit(what, (limit, limit))


def drop_root() -> None:
    """Become nobody."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def filter_system_calls() -> None:
    """Leave only the calls that computing and answering need."""
    text = system_call_filter(os.getpid())
    length = len(text) // len(instruction(RETURN, ALLOW))
    program = FilterProgram(length, text)
    control(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), ctypes.byref(program))


def confine(parent: int) -> list[str]:
    """Give up every power that is not needed, and say which measures are in force.

    The parent-death signal comes after the change of user, which clears it, and the parent is looked at after that: it
    may have died in between.
    """
    measures = ["resource limits"]
    limit_resources()
    if hasattr(os, "setresuid") and os.geteuid() == 0:
        drop_root()
        measures.append("user nobody")
    if sys.platform == "linux":
        control(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1))
        control(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))
        measures += ["no new privileges", "parent-death signal"]
    if os.getppid() != parent:
        raise ConfinementError("the parent process has gone")
    if sys.platform == "linux" and platform.machine() == "x86_64":
        filter_system_calls()
        measures.append("system call filter")
    return measures


def warm_up() -> None:
    """Load what is loaded lazily while files can still be opened."""
    answer(EVALUATE, "[.]|tojson", "[1.5]")
    answer(EVALUATE, "error", "1")
    answer(EVALUATE, "1 +", "1")
    answer(CHECK_SCHEMA, '{"type":"string","pattern":"^a"}', "")
    answer(CHECK_SCHEMA, '{"type":"strin"}', "")
    answer(VALIDATE, '{"type":"string"}', "1.5")
    programs.clear()
    validators.clear()
    gc.collect()
    gc.freeze()


def main() -> None:
    """Confine, report, serve."""
    descriptor, parent = (int(argument) for argument in sys.argv[1:3])
    connection = socket.socket(fileno=descriptor)
    memory = Memory()
    warm_up()
    try:
        measures = confine(parent)
    except (OSError, ValueError, ConfinementError) as error:
        connection.sendall(packed(Answer(REFUSED, str(error).encode())))
        sys.exit(1)
    connection.sendall(packed(Answer(READY, json.dumps(measures).encode())))
    serve(connection, memory)


if __name__ == "__main__":
    main()
