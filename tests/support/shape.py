"""The rules of the house as functions: each takes the texts of the tree and returns one complaint per breach.

They take texts and not files, so that `tests/test_shape.py` can also plant a fault and see each rule find it.
"""

import ast
import re
from collections.abc import Callable, Iterator, Mapping

# Path inside the checkout -> text.
Tree = Mapping[str, str]

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

# A module imports from rows above it or from its own row. A module that matches no row is a breach: give it one.
LAYERS = (
    (
        "0 pure",
        r"sync\.contract(\..+)?",
        r"agent\.(advice|codes|counter_errors|purse|quotes|redemptions|sales|shift|version|views|wedge)",
        r"sync\.hub\.(judging\..+|uploads\.(batch|forks|upload)|escrow\.grants)",
        r"sync\.hub\.people\.(accounts|columns|customer_rows|merged_rows)",
        # packages that hold nothing themselves
        r"agent|sync|sync\.runtime|sync\.hub(\.(books|commands|escrow|feed|judging|migrations|people|terminals|uploads|web))?",
    ),
    (
        "1 settings",
        r"sync\.runtime\.(settings|settings_table|toml_lines)",
        r"(agent|sync\.hub)\.config",
        r"agent\.texts(\..+)?",
    ),
    (
        "2 tools",
        r"sync\.runtime\..+",
        r"sync\.hub_errors",
        r"sync\.pump(\.ports)?",  # protocols and values that the edges implement
        r"agent\.imaging(\..+)?",
    ),
    (
        "3 edges",
        r"sync\.(hub_client|hub_line)",
        r"sync\.hub\.(founding|marker|programs|books\..+|feed\..+)",
        r"sync\.hub\.(escrow\.(allowances|figures|recovery|visitors)|people\.(classes|customers|erasures|merging|presented))",
        r"sync\.hub\.(terminals\.(ahead|invitation_qr|roster)|uploads\.(clocks|faults|fences|placing|streams))",
        r"agent\.(keys|store(\..+)?|migrations(\..+)?|display|screen|scanners(\..+)?|till_client)",
    ),
    (
        "4 flows",
        r"sync\.pump\..+",
        r"sync\.hub\.(escrow\.reserving|people\.(exporting|importing)|terminals\.reception|uploads\.(intake|quarantine))",
        r"agent\.(buyers|counter|figures|decisions|recognition|redeeming|scan_files)",
    ),
    ("5 doors", r"agent\.web(\..+)?", r"sync\.hub\.web\..+"),
    (
        "6 roots",
        r"(agent|sync\.hub)\.(root|__main__)",
        r"agent\.commands|sync\.hub\.commands\..+",
        r"agent\.reserving",
        r"agent\.demo(\..+)?",
    ),
)
# Rooms without a clock, a log, a file or an await: they receive `now` and ids.
PURE = re.compile(
    r"sync\.contract\..+"
    r"|sync\.hub\.(judging\..+|uploads\.(batch|forks|upload)|escrow\.grants)"
    r"|sync\.hub\.people\.(accounts|columns|customer_rows|merged_rows)"
    r"|agent\.(codes|sales|purse|quotes|redemptions|views|advice|shift|wedge)"
)
NOT_PURE = {"asyncio", "logging", "os", "pathlib", "random", "secrets", "socket", "subprocess", "time", "aiohttp"}
CLOCK_READINGS = {"datetime.now", "datetime.utcnow", "date.today"}
# Only these know which SQLite driver there is; its errors are not those of sqlite3.
DRIVER_ROOMS = {"sync/runtime/database.py", "sync/runtime/sqlite_file.py"}
DRIVERS = {"sqlite3", "sqlcipher3", "aiosqlite"}
# Where everything may be caught, and why: path -> how often.
BROAD_EXCEPTS = {
    "sync/runtime/supervise.py": 1,  # a bug in an edge must not close the till
    "sync/runtime/problems.py": 1,  # the HTTP error middleware: every failure is a problem+json
    "sync/runtime/database.py": 1,  # a unit of work's error crosses from the thread to its caller, who raises it
    "sync/hub/uploads/faults.py": 1,  # an event that our own code falls over is held, and the line moves on
    "agent/__main__.py": 1,
    "sync/hub/__main__.py": 1,
    "agent/demo/__main__.py": 1,
}

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def breaches_of_layers(tree: Tree) -> list[str]:
    """Say which module imports from a row below its own, or stands in no row."""
    found = []
    imports = _imports(tree)
    for module, imported in imports.items():
        if _layer(module) is None:
            found.append(f"{module} stands in no layer; give it a row in tests/support/shape.py")
        found += [
            f"{module} ({_row(module)}) imports {other} ({_row(other)})"
            for other in sorted(imported)
            if (_layer(module) or 0) < (_layer(other) or 0)
        ]
    return found


def breaches_of_the_one_rule(tree: Tree) -> list[str]:
    """Say where `sync` imports `agent`, or the product imports the tests."""
    return [
        f"{path}:{node.lineno} imports {name}"
        for path, module in _parsed(tree, "agent/", "sync/")
        for node, name in _imported_names(path, module)
        if name.split(".")[0] in (("tests",) if path.startswith("agent/") else ("tests", "agent"))
    ]


def breaches_of_cycles(tree: Tree) -> list[str]:
    """Say which modules import each other in a circle."""
    imports = _imports(tree)

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for other in imports.get(waiting.pop(), set()) - seen:
                seen.add(other)
                waiting.append(other)
        return seen

    return [f"{module} imports itself in a circle" for module in imports if module in reachable(module)]


def breaches_of_import_place(tree: Tree) -> list[str]:
    """Say where a function imports."""
    return [
        f"{path}:{node.lineno} imports inside {function.name}"
        for path, function in _functions(tree, "agent/", "sync/", "tests/")
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]


def breaches_of_length(tree: Tree) -> list[str]:
    """Say which file or function is too long to read at once."""
    files = [
        f"{path} has {text.count(chr(10))} lines"
        for path, text in tree.items()
        if path.endswith(".py") and text.count("\n") > FILE_LINES_MAX
    ]
    functions = [
        f"{path}:{function.lineno} {function.name} has {lines} lines"
        for path, function in _functions(tree, "agent/", "sync/", "tests/")
        if (lines := (function.end_lineno or function.lineno) - function.lineno + 1) > FUNCTION_LINES_MAX
    ]
    return files + functions


def breaches_of_broad_except(tree: Tree) -> list[str]:
    """Say where everything is caught, beyond the places that have a reason to."""
    found = []
    for path, module in _parsed(tree, "agent/", "sync/"):
        lines = [
            node.lineno
            for node in ast.walk(module)
            if (isinstance(node, ast.ExceptHandler) and _is_broad(node.type) and not _raises_on(node))
            or (isinstance(node, ast.Call) and _name(node.func) == "suppress" and any(map(_is_broad, node.args)))
        ]
        allowed = BROAD_EXCEPTS.get(path, 0)
        found += [f"{path}:{line} catches everything" for line in lines[allowed:]]
    return found


def breaches_of_bare_tasks(tree: Tree) -> list[str]:
    """Say where a task is spawned outside a TaskGroup."""
    found = []
    for path, module in _parsed(tree, "agent/", "sync/"):
        groups = _task_groups(module)
        found += [
            f"{path}:{node.lineno} spawns a bare task"
            for node in ast.walk(module)
            if isinstance(node, ast.Call)
            and _name(node.func) in {"create_task", "ensure_future"}
            and not (isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) in groups)
        ]
    return found


def breaches_of_types(tree: Tree) -> list[str]:
    """Say which function leaves a type out."""
    found = []
    for path, function in _functions(tree, "agent/", "sync/", "tests/"):
        given = function.args
        arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        missing = [
            argument.arg
            for argument in arguments
            if argument is not None and argument.annotation is None and argument.arg not in {"self", "cls"}
        ]
        missing += ["its result"] if function.returns is None else []
        found += [f"{path}:{function.lineno} {function.name} does not type {what}" for what in missing]
    return found


def breaches_of_docstrings(tree: Tree) -> list[str]:
    """Say which product module, public class or public function promises nothing."""
    found = []
    for path, module in _parsed(tree, "agent/", "sync/"):
        if module.body and ast.get_docstring(module) is None:
            found.append(f"{path} has no docstring")
        found += [
            f"{path}:{node.lineno} {node.name} has no docstring"
            for node in _public(module)
            if ast.get_docstring(node) is None
        ]
    return found


def breaches_of_driver_rooms(tree: Tree) -> list[str]:
    """Say who besides the database rooms imports a SQLite driver."""
    return [
        f"{path}:{node.lineno} imports {name}"
        for path, module in _parsed(tree, "agent/", "sync/")
        if path not in DRIVER_ROOMS
        for node, name in _imported_names(path, module)
        if name.split(".")[0] in DRIVERS
    ]


def breaches_of_purity(tree: Tree) -> list[str]:
    """Say where a pure room awaits, or imports what is not pure."""
    found = []
    for path, module in _parsed(tree, "agent/", "sync/"):
        if not PURE.fullmatch(_module_name(path)):
            continue
        found += [
            f"{path}:{node.lineno} imports {name}"
            for node, name in _imported_names(path, module)
            if name.split(".")[0] in NOT_PURE
        ]
        found += [
            f"{path}:{node.lineno} is no plain function or asks the clock"
            for node in ast.walk(module)
            if isinstance(node, ast.AsyncFunctionDef)
            or (isinstance(node, ast.Attribute) and ast.unparse(node) in CLOCK_READINGS)
        ]
    return found


def breaches_of_sleep(tree: Tree) -> list[str]:
    """Say which test sleeps. `asyncio.sleep(0)` only lets others run."""
    return [
        f"{path}:{node.lineno} sleeps"
        for path, module in _parsed(tree, "tests/")
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"sleep", "time.sleep", "asyncio.sleep"}
        and [ast.unparse(argument) for argument in node.args] != ["0"]
    ]


def _parsed(tree: Tree, *folders: str) -> Iterator[tuple[str, ast.Module]]:
    for path, text in tree.items():
        if path.endswith(".py") and path.startswith(folders):
            yield path, ast.parse(text, path)


def _functions(tree: Tree, *folders: str) -> Iterator[tuple[str, _Function]]:
    for path, module in _parsed(tree, *folders):
        for node in ast.walk(module):
            if isinstance(node, _Function):
                yield path, node


def _public(node: ast.Module | ast.ClassDef) -> Iterator[_Function | ast.ClassDef]:
    """Yield what others may name: not nested in a function, no underscore, not one of Python's own methods."""
    for child in node.body:
        if isinstance(child, _Function | ast.ClassDef) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from _public(child)


def _module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imported_names(path: str, module: ast.Module) -> Iterator[tuple[ast.stmt, str]]:
    """Yield each imported dotted name; `from a import b` yields `a.b`, because b may be a module."""
    package = path.split("/")[:-1]
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*start, *([node.module] if node.module else [])])
            yield from ((node, f"{source}.{alias.name}") for alias in node.names)


def _imports(tree: Tree) -> dict[str, set[str]]:
    """Return each product module with the product modules it imports."""
    modules = {_module_name(path): path for path, _ in _parsed(tree, "agent/", "sync/")}
    graph: dict[str, set[str]] = {}
    for path, module in _parsed(tree, "agent/", "sync/"):
        found = set()
        for _, name in _imported_names(path, module):
            found |= {known for known in (name, name.rpartition(".")[0]) if known in modules}
        graph[_module_name(path)] = found - {_module_name(path)}
    return graph


def _layer(module: str) -> int | None:
    for number, (_, *patterns) in enumerate(LAYERS):
        if any(re.fullmatch(pattern, module) for pattern in patterns):
            return number
    return None


def _row(module: str) -> str:
    layer = _layer(module)
    return "no layer" if layer is None else LAYERS[layer][0]


def _name(node: ast.expr) -> str:
    return ast.unparse(node).rpartition(".")[2]


def _is_broad(caught: ast.expr | None) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(map(_is_broad, caught.elts))
    return caught is None or _name(caught) in {"Exception", "BaseException"}


def _raises_on(handler: ast.ExceptHandler) -> bool:
    """Tell whether the handler only cleans up: what it caught goes on by a bare `raise` at its end."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def _task_groups(module: ast.Module) -> set[str]:
    """Return the expressions that hold a TaskGroup, as they are written: `group`, `self._group`."""
    held = set()
    for node in ast.walk(module):
        if isinstance(node, ast.withitem) and "TaskGroup(" in ast.unparse(node.context_expr) and node.optional_vars:
            held.add(ast.unparse(node.optional_vars))
        elif isinstance(node, ast.arg) and node.annotation and "TaskGroup" in ast.unparse(node.annotation):
            held.add(node.arg)
    for node in ast.walk(module):
        if isinstance(node, ast.Assign) and ast.unparse(node.value) in held:
            held |= {ast.unparse(target) for target in node.targets}
    return held


Rule = Callable[[Tree], list[str]]
RULES: tuple[Rule, ...] = (
    breaches_of_layers,
    breaches_of_the_one_rule,
    breaches_of_cycles,
    breaches_of_import_place,
    breaches_of_length,
    breaches_of_broad_except,
    breaches_of_bare_tasks,
    breaches_of_types,
    breaches_of_docstrings,
    breaches_of_driver_rooms,
    breaches_of_purity,
    breaches_of_sleep,
)
