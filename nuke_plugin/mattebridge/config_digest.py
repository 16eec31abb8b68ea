"""Which files an OCIO config stands on, and one digest over all of them, with nothing but the standard library.

Client and server each compute the digest from the files they see; two different digests mean two different colours, and
the job is refused. A config that the server cannot reach travels as the same files, by content. The rule needs no YAML
parser and no OCIO, because neither may be imported inside Nuke:

1. A built-in (``ocio://NAME`` with a version in the name, or ``nuke-default``) is identified by its name. The moving
   names (``ocio://default``, ``…-latest``) are refused: they mean another config in each release of OCIO.
2. An ``.ocioz`` archive is one file; its bytes are all there is.
3. Any other config is its own bytes plus every look-up file that a ``src:`` in it names. Variables in ``src:`` and in
   ``search_path:`` take the job's value, else the default in the config's ``environment:`` block; one that has neither
   matches anything. A relative name is looked for in each search path in turn, the first hit counts, and the config's
   own folder serves only where there is no search path: as OCIO does it. A file that is not there is left out (OCIO
   fails when it is needed, naming it), and so both sides agree about that too.
4. The digest is the SHA-256 of one line ``NAME NUL SHA256-OF-CONTENT LF`` per file, sorted by name. Names are logical
   (``config.ocio``, ``search/<index>/<src>``, ``absolute/<src>``), so that two machines with other mount points agree.
"""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from .errors import InputError, UsageError

BUILTIN_SCHEME = "ocio://"
NUKE_DEFAULT = "nuke-default"
CONFIG_NAME = "config.ocio"
ARCHIVE_NAME = "config.ocioz"

_PINNED = re.compile(r"[\w.+-]*v\d+\.\d+\.\d+[\w.+-]*\Z")
_SRC = re.compile(r"(?<![\w-])src[\"']?\s*:\s*(?:\"((?:[^\"\\\n]|\\.)*)\"|'((?:[^'\n]|'')*)'|([^\s,}#][^,}\n]*))")
_TOP_KEY = re.compile(r"^([A-Za-z_]+)[ \t]*:[ \t]*(.*)$", re.MULTILINE)
_LEFTOVER = re.compile(r"\$\{\w*\}|\$\w+|%\w+%")
_CHUNK_BYTES = 1 << 20
_LONGEST_PATH = 4096


@dataclass(frozen=True)
class ConfigFiles:
    """The files of one config: ``paths`` maps logical names to files on this machine; empty for a built-in."""

    name: str
    paths: Mapping[str, Path] = field(default_factory=dict)

    def digest(self) -> str:
        """SHA-256 in hex, by rule 4. Raises `InputError` where a file cannot be read any more."""
        if not self.paths:
            return _builtin_digest(self.name)
        return _digest_of(((name, _file_sha256(path)) for name, path in self.paths.items()))


def is_config_path(config: str) -> bool:
    """Whether the OCIO config is a file rather than a built-in's name."""
    return bool(config) and config != NUKE_DEFAULT and not config.startswith(BUILTIN_SCHEME)


def config_files(config: str, context: Optional[Mapping[str, str]] = None) -> ConfigFiles:
    """The files behind ``config`` (a pinned built-in name or a path) for one job's context variables.

    Raises `UsageError` for a moving built-in name, `InputError` where the config cannot be read.
    """
    if config == NUKE_DEFAULT:
        return ConfigFiles(config)
    if config.startswith(BUILTIN_SCHEME):
        name = config[len(BUILTIN_SCHEME) :]
        if not _PINNED.match(name):
            raise UsageError(
                f"the OCIO config '{config}' is a moving name: it means another config in each release of OCIO",
                remedy="Name one with its version, such as ocio://cg-config-v2.1.0_aces-v1.3_ocio-v2.3.",
            )
        return ConfigFiles(config)
    path = Path(config)
    if path.suffix.lower() == ".ocioz":
        _file_sha256(path)
        return ConfigFiles(config, {ARCHIVE_NAME: path})
    text = _read_text(path)
    paths: dict[str, Path] = {CONFIG_NAME: path}
    paths.update(_look_up_files(text, path.resolve().parent, context or {}))
    return ConfigFiles(config, paths)


def digest_of_blobs(blobs: Mapping[str, bytes]) -> str:
    """The digest of an uploaded config (logical name → content); equals `ConfigFiles.digest` of its origin."""
    return _digest_of((name, hashlib.sha256(blob).hexdigest()) for name, blob in blobs.items())


def is_safe_name(name: str) -> bool:
    """Whether a logical name stays inside the folder that it is unpacked to, on every platform."""
    parts = name.split("/")
    return bool(name) and "\\" not in name and ":" not in name and "\0" not in name and not {"", ".", ".."} & set(parts)


def declared_variables(text: str) -> Optional[dict[str, str]]:
    """The config's ``environment:`` block, name → default; None where it has none."""
    found = _top_value(text, "environment")
    if found is None:
        return None
    inline, block = found
    items = inline.strip("{} \t").split(",") if inline.startswith("{") else block
    declared: dict[str, str] = {}
    for item in items:
        name, colon, value = item.partition(":")
        if colon and name.strip():
            declared[_unquote(name)] = _unquote(value)
    return declared


def search_paths(text: str) -> list[str]:
    """The config's search paths as written, in order (``resource_path`` is OCIO's older name for the same key)."""
    for key in ("search_path", "resource_path"):
        found = _top_value(text, key)
        if found is None:
            continue
        inline, block = found
        if inline.startswith("["):
            return [_unquote(item) for item in inline.strip("[] \t").split(",") if _unquote(item)]
        if inline:
            return [part for part in re.split(r"(?<!\b[A-Za-z]):|:(?![\\/])", _unquote(inline)) if part]
        return [_unquote(item.lstrip()[1:]) for item in block if item.lstrip().startswith("-")]
    return []


def _look_up_files(text: str, folder: Path, context: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    declared = declared_variables(text)
    values = dict(context)
    if declared is not None:
        values = {**declared, **{name: value for name, value in context.items() if name in declared}}
    roots = [folder / _substitute(entry, values) for entry in search_paths(text)] or [folder]
    for source in sorted({_source(match) for match in _SRC.finditer(text)}):
        pattern = _substitute(source, values)
        if _is_absolute(pattern):
            for hit in _matches(Path(), pattern):
                yield f"absolute/{hit.as_posix().lstrip('/')}", hit
            continue
        for index, root in enumerate(roots):
            hits = list(_matches(root, pattern))
            for hit in hits:
                yield f"search/{index}/{_relative(hit, root, pattern)}", hit
            if hits:
                break


def _matches(root: Path, pattern: str) -> Iterator[Path]:
    """Files at ``root/pattern``; what is left of unknown variables matches any characters within a path component."""
    whole = str(root / pattern)
    if not _LEFTOVER.search(whole):
        if Path(whole).is_file():
            yield Path(whole)
        return
    wild = "*".join(glob.escape(piece) for piece in _LEFTOVER.split(whole))
    yield from (Path(hit) for hit in sorted(glob.glob(wild)) if Path(hit).is_file())


def _relative(hit: Path, root: Path, pattern: str) -> str:
    """The hit's name below its search path; with unknown variables, below the last folder that is known."""
    if not _LEFTOVER.search(str(root / pattern)):
        return pattern.replace("\\", "/")
    known = (root / pattern).parts
    first = next(index for index, part in enumerate(known) if _LEFTOVER.search(part))
    return "/".join(hit.parts[first:])


def _substitute(text: str, values: Mapping[str, str]) -> str:
    # Longest name first, as OCIO does, so that $SHOT does not eat the head of $SHOT_GRADE. A value may name variables
    # in its turn, as deep as there are names.
    for _ in values:
        before = text
        for name in sorted(values, key=len, reverse=True):
            for form in ("${" + name + "}", "$" + name, "%" + name + "%"):
                text = text.replace(form, values[name])
            if len(text) > _LONGEST_PATH:  # of values that name themselves: no file has such a name
                return text
        if text == before:
            break
    return text


def _top_value(text: str, key: str) -> Optional[tuple[str, list[str]]]:
    """The value of a top-level key: what stands on its line, and the lines of its indented block."""
    for match in _TOP_KEY.finditer(text):
        if match.group(1) != key:
            continue
        block: list[str] = []
        for line in text[match.end() :].splitlines()[1:]:
            if line.strip() and not line[0].isspace() and not line.startswith("-"):
                break
            if line.strip() and not line.lstrip().startswith("#"):
                block.append(line)
        inline = _uncommented(match.group(2))
        # A list or a map in brackets may go on over the lines of its block.
        return (" ".join([inline, *map(_uncommented, block)]) if inline[:1] in ("[", "{") else inline), block
    return None


def _uncommented(value: str) -> str:
    return re.split(r"(?:^|\s)#", value, maxsplit=1)[0].strip()


def _unquote(value: str) -> str:
    value = value.strip()
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return _uncommented(value)


def _source(match: re.Match[str]) -> str:
    double, single, bare = match.groups()
    if double is not None:
        return re.sub(r"\\(.)", r"\1", double)
    if single is not None:
        return single.replace("''", "'")
    return _uncommented(bare)


def _is_absolute(name: str) -> bool:
    return name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[\\/]", name) is not None


def _builtin_digest(name: str) -> str:
    return hashlib.sha256(f"built-in\0{name}".encode()).hexdigest()


def _digest_of(entries: Iterable[tuple[str, str]]) -> str:
    whole = hashlib.sha256()
    for name, content in sorted(entries):
        whole.update(f"{name}\0{content}\n".encode())
    return whole.hexdigest()


def _file_sha256(path: Path) -> str:
    state = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            for chunk in iter(lambda: stream.read(_CHUNK_BYTES), b""):
                state.update(chunk)
    except OSError as error:
        raise _unreadable(path, error) from error
    return state.hexdigest()


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"the OCIO config's file cannot be read: {error.strerror or error}",
        remedy="Correct the path or its permissions, or name a built-in config.",
        file=str(path),
    )
