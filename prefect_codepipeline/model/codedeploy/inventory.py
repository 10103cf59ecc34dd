"""Hosts of an inventory: which of them a deployment group's tags choose, and how they are reached."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prefect_codepipeline.model.codedeploy.group import DeploymentGroup, Host, SshAccess, TagFilter

# What identifies the user on a host: a group that sets one of these takes none of them from the inventory.
_KEY = ("private_key_secret", "private_key_path", "passphrase_secret", "certificate")


def with_tags(hosts: Iterable[Host], tag_sets: Sequence[Sequence[TagFilter]]) -> list[Host]:
    """The hosts that have a tag of each set, as `ec2TagSet` chooses instances."""
    return [host for host in hosts if all(any(_has(host, each) for each in tag_set) for tag_set in tag_sets)]


def access_of(group: SshAccess, inventory: SshAccess) -> SshAccess:
    """How hosts of an inventory are reached for a group: what the group sets, and else what the inventory sets.

    Of both, all known hosts count.
    """
    own = {name: value for name, value in group if value != SshAccess.model_fields[name].default}
    other = {name: value for name, value in inventory if not (name in _KEY and own.keys() & set(_KEY))}
    lines = [each.known_hosts for each in (inventory, group) if each.known_hosts is not None]
    known = "\n".join(text.rstrip("\n") for text in lines) if lines else None
    return SshAccess.model_validate({**other, **own, "known_hosts": known})


def tags_in_words(group: DeploymentGroup) -> str:
    """The tags of a group, for a sentence: `role=web and env=test or env=stage`."""
    return " and ".join(" or ".join(map(_in_words, tag_set)) for tag_set in group.tag_sets)


def _has(host: Host, wanted: TagFilter) -> bool:
    if wanted.type == "KEY_ONLY":
        return wanted.key in host.tags
    if wanted.type == "VALUE_ONLY":
        return wanted.value in host.tags.values()
    return wanted.key is not None and host.tags.get(wanted.key) == wanted.value


def _in_words(wanted: TagFilter) -> str:
    if wanted.type == "KEY_ONLY":
        return f"the tag {wanted.key}"
    if wanted.type == "VALUE_ONLY":
        return f"a tag with value {wanted.value}"
    return f"{wanted.key}={wanted.value}"
