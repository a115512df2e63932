"""`make docs`: rewrites the parts of README.md and docs/ that are made from code; `--check` only says which are stale.

A part stands between two comments, `<!-- made from code: NAME -->` and `<!-- end -->`, and is made by the function that `PARTS`
names. Prose around it is nobody's business here. A page that names an unknown part, or forgets the end of one, is an error.

    scripts/docs.py [--check] [ROOT]     exit 0: all fresh; 1: stale, with the names of the pages (only with --check)
"""

from __future__ import annotations

import ast
import enum
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

import msgspec
import typer
from typer.models import ArgumentInfo, OptionInfo

import footfall
from footfall.cli.app import app
from footfall.cli.settings import Settings
from footfall.client.web import settings as web
from footfall.console.metrics import METRICS
from footfall.errors import GRPC_CODES, FootfallError
from footfall.events import bounds, golive, quality, schema, violations
from footfall.lake import schema as lake_schema
from footfall.server import answers, openapi
from footfall.server.inflate import InflateError
from footfall.server.settings import LimitSettings

ROOT: Final = Path(__file__).parent.parent
EXAMPLE: Final = ROOT / "examples" / "three_events.py"
_PART: Final = re.compile(r"(<!-- made from code: ([a-z_ ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_TOLD_DEFAULT: Final = re.compile(r"\s*\[default: (.*?)\]")
_ANY_MARK: Final = re.compile(r"<!-- (?:made from code: |end)")


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    roots = [Path(argument) for argument in arguments if argument != "--check"]
    root = roots[0] if roots else ROOT
    stale = []
    for page in pages(root):
        old = page.read_text(encoding="utf-8")
        new = renewed(old, name=page.name)
        if new != old:
            stale.append(str(page.relative_to(root)))
            if not check:
                page.write_text(new, encoding="utf-8")
    for name in stale:
        print(f"stale: {name} (make docs)" if check else f"rewritten: {name}")
    return 1 if check and stale else 0


def pages(root: Path) -> list[Path]:
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def renewed(text: str, *, name: str) -> str:
    """The page with every made part made again."""
    if len(_ANY_MARK.findall(text)) != 2 * len(_PART.findall(text)):
        raise SystemExit(f"{name}: a part without its end, or an end without its part")
    return _PART.sub(lambda match: f"{match[1]}\n{part(match[2], page=name)}\n\n{match[3]}", text)


def part(name: str, *, page: str) -> str:
    kind, _, argument = name.partition(" ")
    if kind not in PARTS:
        raise SystemExit(f"{page}: no part {kind!r}; there are {', '.join(sorted(PARTS))}")
    return PARTS[kind](argument) if argument else PARTS[kind]()


def table(*head: str, rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


# -- the command line


def commands() -> str:
    return "\n\n".join(_command(path, function) for path, function in _commands(typer.main.get_command(app), ("footfall",)))


def command_list() -> str:
    rows = [
        (f"`{' '.join(path)}`", _first_sentence(function.__doc__))
        for path, function in _commands(typer.main.get_command(app), ("footfall",))
    ]
    return table("Command", "What it does", rows=rows)


def _commands(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Callable[..., Any]]]:
    """Every command, in the order of `--help`, with the function that Typer wrapped."""
    for name in tree.commands:
        command = tree.commands[name]
        if hasattr(command, "commands"):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name), inspect.unwrap(command.callback)


def _command(path: tuple[str, ...], function: Callable[..., Any]) -> str:
    hints = get_type_hints(function, include_extras=True)
    usage, rows = list(path), []
    for name, parameter in inspect.signature(function).parameters.items():
        kind, info = get_args(hints[name])
        required = parameter.default is inspect.Parameter.empty
        shown = _argument(name, info) if isinstance(info, ArgumentInfo) else _option(name, kind, info)
        usage.append(shown if required or shown.startswith("[") else f"[{shown}]")
        default = "required" if required else _default(parameter.default, info)
        rows.append((f"`{shown}`", _help(info), default, f"`{info.envvar}`" if info.envvar else ""))
    own = table("Argument or option", "What it is", "Default", "Environment", rows=rows)
    return f"### `{' '.join(path)}`\n\n{inspect.getdoc(function)}\n\n```text\n{' '.join(usage)}\n```\n\n{own}"


def _argument(name: str, info: ArgumentInfo) -> str:
    return info.metavar or name.upper()


def _option(name: str, kind: Any, info: OptionInfo) -> str:
    # inside Annotated the first name lands where the default would be
    first = (info.default,) if isinstance(info.default, str) else ()
    names = [*first, *(info.param_decls or ())] or ["--" + name.replace("_", "-")]
    kind = next((one for one in get_args(kind) if one is not type(None)), kind) if get_origin(kind) else kind
    if kind is bool:
        return ", ".join(names)
    if inspect.isclass(kind) and issubclass(kind, enum.Enum):
        placeholder = "|".join(str(member.value) for member in kind)
    elif kind is Path:
        placeholder = "FILE" if info.file_okay else "DIR"
    else:
        placeholder = "N" if kind is int else names[0].lstrip("-").rpartition("-")[2].upper()
    return f"{', '.join(names)} {info.metavar or placeholder}"


def _help(info: ArgumentInfo | OptionInfo) -> str:
    return _TOLD_DEFAULT.sub("", info.help or "")


def _default(value: object, info: ArgumentInfo | OptionInfo) -> str:
    told = _TOLD_DEFAULT.search(info.help or "")  # where the value itself comes from the settings
    if told:
        return f"`{told[1]}`"
    return "" if value is None or value is False or value == "" else f"`{value}`"


# -- settings


def settings() -> str:
    sections = []
    for section in msgspec.structs.fields(Settings):
        struct: type[msgspec.Struct] = section.type
        rows = [
            (
                f"`{field.name}`",
                f"`FOOTFALL_{section.name.upper()}__{field.name.upper()}`",
                _setting_default(field.name, field.default),
                _range(field.type),
                field_docs(struct)[field.name],
            )
            for field in msgspec.structs.fields(struct)
        ]
        head = (inspect.getdoc(struct) or "").partition(": ")[2]
        sections.append(
            f"## `[{section.name}]`\n\n{head[:1].upper()}{head[1:]}\n\n"
            + table("Key", "Environment", "Default", "Range", "What it is", rows=rows)
        )
    return "\n\n".join(sections)


def limits() -> str:
    """Settings of `[limits]` and the bounds that cannot be set, in one table."""
    docs = field_docs(LimitSettings)
    set_ones = [
        (docs[field.name], _setting_default(field.name, field.default), f"`limits.{field.name}`")
        for field in msgspec.structs.fields(LimitSettings)
    ]
    fixed = [
        ("levels of objects and arrays", str(bounds.DEPTH_MAX), "fixed"),
        ("bytes of one string or member name", _setting_default("_bytes_", bounds.STRING_BYTES_MAX), "fixed"),
        ("members of one object", str(bounds.MEMBERS_MAX), "fixed"),
        ("characters of `id` and of an identifier", str(schema.IDENTIFIER_CHARS_MAX), "fixed"),
        ("fraction digits of an amount", str(schema.AMOUNT_FRACTION_DIGITS_MAX), "fixed"),
        ("amounts are below, in either sign", "10^15", "fixed"),
        ("violations listed in one answer", str(violations.VIOLATIONS_MAX), "fixed"),
    ]
    return table("Bound", "Value", "Setting", rows=[*set_ones, *fixed])


def field_docs(struct: type[Any]) -> dict[str, str]:
    """The line of documentation under each field of a Struct or a TypedDict, which Python itself throws away."""
    body = ast.parse(textwrap.dedent(inspect.getsource(struct))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, doc in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(doc, ast.Expr):
            found[field.target.id] = " ".join(str(ast.literal_eval(doc.value)).split())
    return found


def _setting_default(name: str, value: Any) -> str:
    if value is None:
        return "computed"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int) and "bytes" in name:
        unit, text = (20, "MiB") if value % (1 << 20) == 0 else (10, "KiB")
        return f"`{value}` ({value >> unit} {text})"
    return f"`{value}`"


def _range(kind: Any) -> str:
    kinds = [kind, *get_args(kind)]
    for one in kinds:
        if get_origin(one) is Annotated:
            meta = get_args(one)[1]
            low = f"≥ {meta.ge}" if meta.ge is not None else f"> {meta.gt}" if meta.gt is not None else ""
            high = f"≤ {meta.le}" if meta.le is not None else ""
            return ", ".join(bound for bound in (low, high) if bound)
    return ""


# -- the HTTP contract


def refusals() -> str:
    """Every refusal of the door, from the very values the server answers with."""
    every = [value for value in vars(answers).values() if isinstance(value, answers.Refusal)]
    every += [
        answers.method_not_allowed("POST"),
        answers.too_large(70_000, 65_536),
        answers.key_without_scope("read"),
        answers.unknown_platform("SHOPP"),
        answers.platform_disabled("SHOP"),
        answers.foreign_key("SHOP", "SHOP_TEST"),
        answers.not_inflatable(InflateError("trailing", "after the end of the gzip data there are further bytes")),
        answers.not_inflatable(InflateError("too_large", "the body inflates to more than 33554432 bytes")),
        answers.too_many_events(10_000),
        answers.throttled(2.0),
        answers.too_large_stored(9_000),
    ]
    rows = [
        (str(refusal.status), str(GRPC_CODES[refusal.status]), refusal.message, "closed" if refusal.close else "kept")
        for refusal in sorted(every, key=lambda refusal: (refusal.status, refusal.message))
    ]
    return table("Status", "`code`", "`message`", "Connection", rows=rows)


def codes() -> str:
    return table("Status", "`code`", rows=[(str(status), str(code)) for status, code in sorted(GRPC_CODES.items())])


def members() -> str:
    schemas = msgspec.json.decode(openapi.document(LimitSettings()))["components"]["schemas"]
    tables = []
    for name in ("Event", "Device", "Item", "Money"):
        required = schemas[name].get("required", ())
        rows = [
            (f"`{member}`", _type_of(described) + (", required" if member in required else ""), described.get("description", ""))
            for member, described in schemas[name]["properties"].items()
        ]
        tables.append(f"**{name}.** {schemas[name]['description']}\n\n" + table("Member", "Type", "Notes", rows=rows))
    return "\n\n".join(tables)


def _type_of(described: dict[str, Any]) -> str:
    if "$ref" in described:
        return str(described["$ref"]).rpartition("/")[2]
    if "enum" in described:
        return "one of " + ", ".join(f"`{name}`" for name in described["enum"] if name)
    if "anyOf" in described:
        kinds = [_type_of(one) for one in described["anyOf"] if one.get("type") != "null"]
        return " or ".join(kinds)
    if described.get("type") == "array":
        return f"array of {_type_of(described['items'])}"
    if "pattern" in described:
        return "the same as a string"
    kind = described["type"]
    limit = f" of at most {described['maxLength']} characters" if "maxLength" in described else ""
    return (kind if isinstance(kind, str) else next(one for one in kind if one != "null")) + limit


def violation_reasons() -> str:
    return table("Reason", "When", rows=[(f"`{name}`", doc) for name, doc in violations.REASONS.items()])


def warning_reasons() -> str:
    return table("Reason", "When", rows=[(f"`{name}`", doc) for name, doc in quality.REASONS.items()])


def cases() -> str:
    return table("Case", "What to do in the shop", rows=[(f"`{name}`", golive.DESCRIPTIONS[name]) for name in golive.CASES])


# -- the table of events


def events_table() -> str:
    """Every column, its nested members below it."""
    rows = [
        (f"`{column.name}`", _table_type(column.type), _delta_name(column.type), column.description, str(column.since))
        for column in lake_schema.COLUMNS
    ]
    return table("Column", "Type in SQL", "Type in Delta", "What it is", "Since", rows=rows)


def events_structs() -> str:
    """What the structs of the table hold."""
    tables = []
    for column in lake_schema.COLUMNS:
        kind = column.type[0] if isinstance(column.type, list) else column.type
        if isinstance(kind, dict) and kind != lake_schema.MONEY:
            members = [(f"`{name}`", _table_type(inner), _delta_name(inner)) for name, inner in kind.items()]
            each = "each of " if isinstance(column.type, list) else ""
            tables.append(f"**{each}`{column.name}`**\n\n" + table("Member", "Type in SQL", "Type in Delta", rows=members))
    assert isinstance(lake_schema.MONEY, dict)
    money = [(f"`{name}`", _table_type(inner), _delta_name(inner)) for name, inner in lake_schema.MONEY.items()]
    tables.append("**money**\n\n" + table("Member", "Type in SQL", "Type in Delta", rows=money))
    return "\n\n".join(tables)


def _table_type(kind: Any) -> str:
    if kind == lake_schema.MONEY:
        return "`STRUCT`: money"
    if isinstance(kind, dict):
        return "`STRUCT`, below"
    if isinstance(kind, list):
        return "`STRUCT[]`, below"
    return f"`{lake_schema.duckdb_type(kind)}`"


def _delta_name(kind: Any) -> str:
    if isinstance(kind, dict):
        return "`struct`"
    return "`array<struct>`" if isinstance(kind, list) else f"`{kind}`"


# -- metrics


def metrics() -> str:
    rows = [
        (f"`{metric.name}`", metric.kind, ", ".join(f"`{label}`" for label in metric.labels), metric.help, metric.watch)
        for metric in METRICS
    ]
    return table("Metric", "Type", "Labels", "What it is", "Watch for", rows=rows)


# -- the library


def exports() -> str:
    rows = [(f"`{name}`", _export(name)) for name in footfall.__all__ if not name.startswith("__") and not _is_error(name)]
    return table("Name", "What it is", rows=rows)


def errors() -> str:
    rows = [(f"`{name}`", _export(name)) for name in footfall.__all__ if _is_error(name)]
    return table("Error", "When", rows=rows)


def _is_error(name: str) -> bool:
    value = getattr(footfall, name)
    return inspect.isclass(value) and issubclass(value, FootfallError)


def _export(name: str) -> str:
    return _first_sentence(inspect.getdoc(getattr(footfall, name)))


def _first_sentence(doc: str | None) -> str:
    paragraph = " ".join((doc or "").partition("\n\n")[0].split())
    return re.split(r"(?<=[.`)\w])[.:] (?=[A-Z])", paragraph, maxsplit=1)[0].removesuffix(".") + "."


def web_options() -> str:
    """What a web shop decides, with the defaults of the checked settings."""
    docs = field_docs(web.Options)
    defaults = {field.name: field.default for field in msgspec.structs.fields(web.Settings)}
    rows = [
        (f"`{name}`", f"`{defaults[name]!r}`" if defaults[name] != "" else "", docs[name]) for name in web.Options.__annotations__
    ]
    return table("Option", "Default", "What it is", rows=rows)


def example(name: str) -> str:
    """The lines of examples/three_events.py that assign `name`, moved to the left edge."""
    source = EXAMPLE.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and [target.id for target in node.targets if isinstance(target, ast.Name)] == [name]:
            lines = source.splitlines()[node.lineno - 1 : node.end_lineno]
            return f"```python\n{textwrap.dedent(chr(10).join(lines))}\n```"
    raise SystemExit(f"{EXAMPLE.name} assigns no {name}")


PARTS: Final[dict[str, Callable[..., str]]] = {
    "cases": cases,
    "codes": codes,
    "command_list": command_list,
    "commands": commands,
    "errors": errors,
    "events_structs": events_structs,
    "events_table": events_table,
    "example": example,
    "exports": exports,
    "limits": limits,
    "members": members,
    "metrics": metrics,
    "refusals": refusals,
    "settings": settings,
    "violations": violation_reasons,
    "warnings": warning_reasons,
    "web_options": web_options,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
