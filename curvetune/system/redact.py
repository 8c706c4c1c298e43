"""Takes secrets out of what is printed, logged, stored or tracked.

A secret is what stands before the @ of an address, the values behind its `?`, the value of an
environment variable that is named like a secret (AWS_SECRET_ACCESS_KEY, RAY_AUTH_TOKEN), and what
follows `password=` and its like in any text. Rather too much is hidden than too little.
"""

import base64
import functools
import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote, quote_plus, unquote, urlsplit

MASK = "***"
HOOK_OPTION = "--notify"  # the path of a web hook's address is a secret as well
SHORTEST = 6  # characters of a secret that is looked for by itself: shorter ones are words
LONG = 12  # characters of a value behind `?` that is a secret whatever its name

WORD = (
    r"secret|token|passw(?:or)?d|passphrase|api_?key|access_?key|private_?key|credential|signature"
)
NAMED_SECRET = re.compile(
    rf"{WORD}|(?:^|_)(?:key|pat|pwd|pass|dsn|cookie|webhook)$|pgpass|sshpass", re.IGNORECASE
)
# Variables that are named like a secret, but say where one is, or of which kind.
NO_SECRET = re.compile(r"_(?:path|file|dir|mode|type|sock|name)$|^(?:old)?pwd$", re.IGNORECASE)

WITHOUT_SCHEME = re.compile(r"[\w.%+-]+:[^/@\s]+@[\w.-]+(?::\d+)?(?:/.*)?")  # user:password@host
USERINFO = re.compile(r"(?<=://)[^\s/?#'\"<>]*@")
QUERY = re.compile(r"(?<=://)([^\s?#'\"<>]*)([?#])([^\s'\"<>]+)")
VALUE = re.compile(r"=[^&;]*")
ASSIGNED = re.compile(
    rf"((?:{WORD})\w*=|['\"]\w*(?:{WORD})\w*['\"]: *['\"])[^\s&;,'\")]+", re.IGNORECASE
)
HEADER = re.compile(r"\b((?:Basic|Bearer) +)[A-Za-z0-9._~+/=-]{6,}")


def shown(uri: str) -> str:
    """Return an address without user, password, and the values behind its `?` and `#`."""
    userinfo = _userinfo(uri)
    if userinfo:
        uri = uri.replace(f"{userinfo}@", f"{MASK}@", 1)
    scheme, separator, rest = uri.partition("://")
    address, mark, query = _split_at(rest if separator else scheme, "?#")
    return (scheme + separator if separator else "") + address + mark + _without_values(query)


def hook_shown(url: str) -> str:
    """Return a web hook's address as far as its server."""
    scheme, separator, rest = shown(url).partition("://")
    host, mark, _ = _split_at(rest, "/?#")
    return scheme + separator + host + (f"/{MASK}" if mark else "")


def redact(text: str) -> str:
    """Return `text` with `***` in place of every secret that is known or looks like one."""
    addresses, secrets = _known(tuple(os.environ.items()), tuple(sys.argv))
    for uri, instead in addresses:
        text = text.replace(uri, instead)
    text = USERINFO.sub(f"{MASK}@", text)
    text = QUERY.sub(lambda found: found[1] + found[2] + _without_values(found[3]), text)
    text = ASSIGNED.sub(rf"\g<1>{MASK}", text)
    text = HEADER.sub(rf"\g<1>{MASK}", text)
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def command(arguments: Sequence[str]) -> str:
    """Return a command as it can be typed again, but for secrets, of which it says so."""
    after = ["", *arguments]
    clean = [_argument(option, value) for option, value in zip(after, arguments, strict=False)]
    text = shlex.join(["curvetune", *clean])
    if clean == list(arguments):
        return text
    return f"{text}  # {MASK} stands for a secret that is not shown: put it in again"


Pairs = tuple[tuple[str, str], ...]


@functools.lru_cache(maxsize=4)  # a millisecond, and a table asks for each of its failures
def _known(environment: Pairs, arguments: tuple[str, ...]) -> tuple[Pairs, tuple[str, ...]]:
    """Return the addresses with what is shown of them, and the secrets; each longest first."""
    words = [word for _, value in environment for word in value.split()]
    words += [text for argument in arguments for text in (argument, argument.partition("=")[2])]
    addresses = {word: shown(word) for word in words if "://" in word or "@" in word}
    addresses |= {url: hook_shown(url) for url in _hooks(arguments)}
    found = {
        value
        for name, value in environment
        if NAMED_SECRET.search(name) and not NO_SECRET.search(name)
    }
    found |= {secret for uri in addresses for secret in _secrets_of(uri)}
    found |= {line for value in found for line in value.splitlines() if len(line) >= LONG}
    spelled = {form for value in found for form in _spellings(value)}
    return (
        tuple(sorted(((k, v) for k, v in addresses.items() if k != v), key=_longest_first)),
        tuple(sorted((form for form in spelled if len(form) >= SHORTEST), key=_longest_first)),
    )


def _longest_first(found: str | tuple[str, str]) -> int:
    return -len(found if isinstance(found, str) else found[0])


def _hooks(arguments: Sequence[str]) -> Iterator[str]:
    for before, argument in zip(("", *arguments), arguments, strict=False):
        name, _, value = argument.partition("=")
        if HOOK_OPTION in (before, name):
            yield argument if before == HOOK_OPTION else value


def _argument(option: str, value: str) -> str:
    """Return an argument of a command line, given the one before it."""
    name, equals, rest = value.partition("=")
    if value.startswith("--") and equals:
        return f"{name}={_argument(name, rest)}"
    if option == HOOK_OPTION:
        return hook_shown(value)
    return redact(shown(value) if "://" in value else value)


def _userinfo(uri: str) -> str:
    """Return what stands before the @ of an address, be it right or not; empty without one."""
    _, separator, rest = uri.partition("://")
    if not separator:
        return uri.rpartition("@")[0] if WITHOUT_SCHEME.fullmatch(uri) else ""
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in host:
        return host.rpartition("@")[0]
    port = host.rpartition(":")[2] if ":" in host else ""
    if "@" in rest and port and not port.isdecimal() and not host.endswith("]"):
        return rest.rpartition("@")[0]  # a password with a / in it, which should be %2F
    return ""


def _secrets_of(uri: str) -> Iterator[str]:
    userinfo = _userinfo(uri)
    user, _, password = userinfo.partition(":")
    if userinfo:
        yield userinfo
        yield password or user
        yield base64.b64encode(unquote(userinfo).encode()).decode()  # as a header has it
        if password == "x-oauth-basic":  # GitHub's way: the token is the user
            yield user
    try:
        parts = urlsplit(uri)
    except ValueError:  # no address at all
        return
    for pair in f"{parts.query}&{parts.fragment}".split("&"):
        name, _, value = pair.partition("=")
        if NAMED_SECRET.search(name) or len(value) >= LONG:
            yield value


def _spellings(secret: str) -> Iterable[str]:
    """Return a secret as an address, a JSON text or Python would write it."""
    forms = {secret, unquote(secret)}
    for form in list(forms):
        forms |= {quote(form), quote(form, safe=""), quote_plus(form)}
        forms |= {json.dumps(form)[1:-1], repr(form)[1:-1]}
    return forms


def _without_values(query: str) -> str:
    """Return `a=***&b=***` for `a=1&b=2`, and `***` for what has no names."""
    if not query:
        return ""
    return VALUE.sub(f"={MASK}", query) if "=" in query else MASK


def _split_at(text: str, marks: str) -> tuple[str, str, str]:
    """Return what is before the first of `marks`, that mark, and what is behind it."""
    found = re.search(f"[{re.escape(marks)}]", text)
    if found is None:
        return text, "", ""
    return text[: found.start()], found[0], text[found.end() :]
