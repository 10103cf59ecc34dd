"""The members of an artifact archive: their only valid encoding, and the rules for a tree.

The format is tar with GNU long names: sorted by name, no times, no owners, modes 644 and 755. Any bytes other than
those that `encode` writes are refused. So equal trees have equal bytes, and a hostile archive can contain no device,
hard link, sparse file or second encoding of a member.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

if TYPE_CHECKING:  # a block, and so Prefect
    from prefect_codepipeline.blocks.artifact_store import ArtifactStore


BLOCK_BYTES = 512
END = b"\0" * (2 * BLOCK_BYTES)
# PATH_MAX of Linux: a longer name cannot be opened. shutil.rmtree cannot remove a tree that is nested deeper.
MAX_NAME_BYTES = 4096
MAX_PART_BYTES = 255  # of each folder's and file's own name, in all usual file systems
MAX_DEPTH = 256

Kind = Literal["file", "folder", "link"]
_TYPES: dict[Kind, bytes] = {"file": b"0", "folder": b"5", "link": b"2"}
_KINDS: dict[bytes, Kind] = {type_: kind for kind, type_ in _TYPES.items()}
_LONG_NAME, _LONG_TARGET = b"L", b"K"
_SHORT_BYTES = 100
_OCTAL_LIMIT = 8**11


class UnfitTreeError(ValueError):
    """A tree cannot be stored as an artifact, or an archive is invalid; the text gives the member and the reason."""


class Member(NamedTuple):
    """A file of `size` bytes, a folder, or a symbolic link to `target`; `name` is relative and POSIX."""

    name: str
    kind: Kind
    size: int = 0
    executable: bool = False
    target: str = ""


class TreeRules:
    """The rules for one tree, checked member by member in archive order, both when it is stored and when fetched."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store
        self._last = b""
        self._folders = {""}
        self._members = self._bytes = 0

    def admit(self, member: Member) -> None:
        """Add a member. Raises `UnfitTreeError` if it does not fit into the tree after the members before it."""
        name = check_name(member.name)
        if name <= self._last:
            raise UnfitTreeError(f"{member.name!r} appears twice or out of order")
        self._last = name
        if (folder := member.name.rpartition("/")[0]) not in self._folders:
            raise UnfitTreeError(f"{member.name!r} is below {folder!r}, which is not a folder of the tree")
        if member.kind == "folder":
            self._folders.add(member.name)
        if member.kind == "link" and (why := _why_it_leaves(member.name, member.target)):
            raise UnfitTreeError(f"the symbolic link {member.name!r} -> {member.target!r} {why}")
        self._spend(member.size)

    def _spend(self, size: int) -> None:
        self._members += 1
        self._bytes += size
        if self._members > self._store.max_tree_files:
            raise UnfitTreeError(
                f"the tree has more than {self._store.max_tree_files} files and folders{_ADVICE}_files"
            )
        if self._bytes > self._store.max_tree_bytes:
            raise UnfitTreeError(
                f"the tree has more than {self._store.max_tree_bytes} bytes of files{_ADVICE}_bytes"
            )


_ADVICE = "; to allow it, raise the ArtifactStore block's max_tree"


def encode(member: Member) -> bytes:
    """The header of a member: one block, or more if its name or target is long."""
    name = member.name.encode() + (b"/" if member.kind == "folder" else b"")
    target = member.target.encode()
    mode = (
        0o777 if member.kind == "link" else 0o755 if member.executable or member.kind == "folder" else 0o644
    )
    longer = b""
    if len(target) > _SHORT_BYTES:
        longer += _long(_LONG_TARGET, target)
    if len(name) > _SHORT_BYTES:
        longer += _long(_LONG_NAME, name)
    return longer + _block(name, mode, member.size, _TYPES[member.kind], target)


def padding(size: int) -> int:
    """The number of bytes that fill up the last block after `size` bytes."""
    return -size % BLOCK_BYTES


def read_member(stream: BinaryIO, skip: int = 0) -> Member | None:
    """The member whose header comes after `skip` bytes of padding, or None at the end of the archive.

    Raises:
        UnfitTreeError: these are not the bytes that `encode` writes.
    """
    raw = stream.read(skip + BLOCK_BYTES)
    if raw.count(0, 0, skip) != skip:
        raise UnfitTreeError("the padding after a file is not all zeros")
    header = raw[skip:]
    if not header.strip(b"\0"):
        if header + stream.read(BLOCK_BYTES + 1) != END:
            raise UnfitTreeError("the archive is truncated, or has data after its end mark")
        return None
    longer: dict[bytes, bytes] = {}
    raw = header
    while (type_ := header[156:157]) in (_LONG_NAME, _LONG_TARGET) and type_ not in longer:
        size = _number(header[124:136])
        if not 0 < size <= MAX_NAME_BYTES + 2:
            raise UnfitTreeError(f"the archive has a name of {size} bytes; the limit is {MAX_NAME_BYTES}")
        text = stream.read(size + padding(size))
        longer[type_] = text[: size - 1]
        header = stream.read(BLOCK_BYTES)
        raw += text + header
    member = _decode(header, longer)
    if encode(member) != raw:
        raise UnfitTreeError(f"{member.name!r} does not have the encoding that artifacts have")
    return member


def _decode(header: bytes, longer: dict[bytes, bytes]) -> Member:
    name, target = longer.get(_LONG_NAME, header[:100]), longer.get(_LONG_TARGET, header[157:257])
    try:
        path, link = (text.rstrip(b"\0").decode() for text in (name, target))
    except UnicodeDecodeError:
        raise UnfitTreeError(f"the name {name!r} or {target!r} is not UTF-8") from None
    kind = _KINDS.get(header[156:157])
    if kind is None:
        raise UnfitTreeError(f"{path!r} is not a file, folder or symbolic link")
    size = _number(header[124:136]) if kind == "file" else 0
    executable = kind == "file" and header[100:107] == b"0000755"
    return Member(path.removesuffix("/") if kind == "folder" else path, kind, size, executable, link)


def _long(type_: bytes, text: bytes) -> bytes:
    size = len(text) + 1
    return _block(b"././@LongLink", 0, size, type_, b"") + text + b"\0" * (1 + padding(size))


def _block(name: bytes, mode: int, size: int, type_: bytes, target: bytes) -> bytes:
    # Eleven octal digits end at 8 GiB. For larger sizes GNU tar uses base 256, marked by the first bit.
    length = b"%011o\0" % size if size < _OCTAL_LIMIT else b"\x80" + size.to_bytes(11, "big")
    head = name[:100].ljust(100, b"\0") + b"%07o\0" % mode + b"0000000\0" * 2 + length + b"%011o\0" % 0
    tail = type_ + target[:100].ljust(100, b"\0") + b"ustar  \0" + b"\0" * 247
    checksum = sum(head) + sum(tail) + 8 * ord(" ")
    return head + b"%06o\0 " % checksum + tail


def _number(field: bytes) -> int:
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.rstrip(b"\0"), 8)
    except ValueError:
        raise UnfitTreeError(f"the size {field!r} in a header of the archive is not a number") from None


def check_name(name: str) -> bytes:
    """The encoded name. Raises `UnfitTreeError` for one that is too long or too deep, or leads out of the tree.

    Paths are built from a name only after this check: a long name has very many parents.
    """
    if len(name) > MAX_NAME_BYTES:
        raise UnfitTreeError(f"the name {name[:100]!r}… is longer than {MAX_NAME_BYTES} bytes")
    if name.count("/") >= MAX_DEPTH:
        raise UnfitTreeError(f"{name[:100]!r}… is more than {MAX_DEPTH} folders deep")
    if "\0" in name or not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise UnfitTreeError(f"the name {name!r} leads out of the tree, or is not a valid name")
    try:
        raw = name.encode()
    except UnicodeEncodeError:
        raise UnfitTreeError(f"the name {name!r} is not UTF-8; other systems could not read it") from None
    if len(raw) > MAX_NAME_BYTES:
        raise UnfitTreeError(f"the name {name[:100]!r}… is longer than {MAX_NAME_BYTES} bytes")
    if max(map(len, raw.split(b"/"))) > MAX_PART_BYTES:
        raise UnfitTreeError(
            f"{name[:100]!r}…: a folder or file has a name of more than {MAX_PART_BYTES} bytes"
        )
    return raw


def _why_it_leaves(name: str, target: str) -> str:
    """Why a link may lead out of the tree, or an empty text if it cannot.

    `..` is allowed only at the start, where it goes up through real folders. After a name, which may be another link,
    it could lead anywhere.
    """
    parts = target.split("/")
    if not target or "\0" in target or len(target) > MAX_NAME_BYTES or not _is_text(target):
        return f"has an empty or invalid target, or one of more than {MAX_NAME_BYTES} characters"
    if target.startswith("/"):
        return "is absolute and would lead out of the tree; make it relative"
    climbs = next((at for at, part in enumerate(parts) if part not in ("..", ".")), len(parts))
    if ".." in parts[climbs:]:
        return (
            "has '..' after a name, which may lead out of the tree; use '..' only at the start of the target"
        )
    return "leads out of the tree" if parts[:climbs].count("..") > name.count("/") else ""


def _is_text(text: str) -> bool:
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False
