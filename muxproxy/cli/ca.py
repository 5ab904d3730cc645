"""`muxproxy ca`: make, renew and show the local CA, and what lets programs trust it.

Nothing is ever installed into a system's or a browser's store.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys

from muxproxy.ca import names
from muxproxy.ca.authority import Authority, BrokenAuthority, load, make, reissue
from muxproxy.ca.files import Folder
from muxproxy.ca.trust import export
from muxproxy.ca.variables import exports, proxy_variables, trust_variables
from muxproxy.cli import config_file, local
from muxproxy.config.model import Config

_SOON = datetime.timedelta(days=30)


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with it, and how to tell."""
    config_file.argument(parser)
    parser.add_argument("--env", action="store_true", help="only the variables, for a shell's eval")
    parser.add_argument("--proxy", action="store_true", help="with --env: HTTPS_PROXY too")
    parser.add_argument(
        "--new-key", action="store_true", help="make a new CA; every client must trust it anew"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")


def main(args: argparse.Namespace) -> int:
    """0: the CA covers the configuration; 2: it could not be made or read."""
    config = config_file.read(args.config)
    if config is None:
        return 2
    wanted = names.wanted(config)
    if not wanted:
        print("no provider has a host that a CA could cover", file=sys.stderr)
        return 2
    folder = Folder(names.settings(config).ca)
    try:
        authority, news = see_to(folder, wanted, new_key=args.new_key)
    except BrokenAuthority as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{folder.path}: {error.strerror}", file=sys.stderr)
        return 2
    variables = trust_variables(folder)
    if args.proxy:
        variables |= proxy_variables(local.base_url(config))
    if args.env:
        if news:
            print(news, file=sys.stderr)
        print(exports(variables), end="")
    elif args.json:
        print(json.dumps(_facts(folder, authority) | {"news": news, "env": variables}))
    else:
        _show(folder, authority, news, variables)
    return 0


def ready(config: Config) -> dict[str, str]:
    """The variables that make programs trust the CA, which is made or renewed where need be; none
    where no provider has a host. Raises BrokenAuthority, OSError."""
    wanted = names.wanted(config)
    if not wanted:
        return {}
    folder = Folder(names.settings(config).ca)
    _, news = see_to(folder, wanted)
    if news:
        print(f"{folder.path}: {news}", file=sys.stderr)
    return trust_variables(folder)


def see_to(folder: Folder, wanted: list[str], *, new_key: bool = False) -> tuple[Authority, str]:
    """The CA for these names, its bundles written, and what was done to get it. Raises
    BrokenAuthority, OSError."""
    authority, news = _made(folder, wanted, new_key)
    export(folder, authority, os.environ)
    return authority, news


def _made(folder: Folder, wanted: list[str], new_key: bool) -> tuple[Authority, str]:
    now = datetime.datetime.now(datetime.UTC)
    old = None if new_key else load(folder)
    if old is None:
        return make(folder, wanted, now), "a new CA: programs have to trust it"
    missing = names.uncovered(wanted, old.names)
    # The constraints shrink as well: what is no longer intercepted must not stay certifiable.
    stale = names.uncovered(sorted(old.names), wanted)
    if missing or stale or old.ends - now < _SOON:
        what = [f"now covers {', '.join(missing)}"] if missing else []
        what += [f"no longer covers {', '.join(stale)}"] if stale else []
        why = "; ".join(what) or f"the old one ends on {old.ends:%Y-%m-%d}"
        return reissue(folder, old, wanted, now), (
            f"reissued with the same key ({why}): programs that read its file have to be started "
            "again, copies elsewhere replaced; leaves for hosts that the old one covers stay "
            "trusted meanwhile"
        )
    return old, ""


def _facts(folder: Folder, authority: Authority) -> dict[str, object]:
    return {
        "certificate": str(folder.cert.resolve()),
        "bundle": str(folder.bundle.resolve()),
        "java_truststore": str(folder.store.resolve()),
        "sha256": authority.fingerprint,
        "expires": authority.ends.isoformat(),
        "covers": sorted(authority.names),
    }


def _show(folder: Folder, authority: Authority, news: str, variables: dict[str, str]) -> None:
    if news:
        print(f"{news}\n")
    facts = _facts(folder, authority)
    print(f"certificate   {facts['certificate']}")
    print(f"SHA-256       {authority.fingerprint}")
    print(f"expires       {authority.ends:%Y-%m-%d}")
    print(f"covers        {', '.join(sorted(authority.names))}")
    print(f"bundle        {facts['bundle']}  (the system's roots and this one)")
    print(f"Java          {facts['java_truststore']}\n")
    print("Programs trust it with these (Go on macOS and Windows reads the system's store only);")
    print('eval "$(muxproxy env --proxy)" sets them, and HTTPS_PROXY, in this shell:\n')
    print(exports(variables), end="")
