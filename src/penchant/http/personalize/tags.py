"""Tags: labels that people put on resources. They change nothing here but are kept."""

from collections.abc import Awaitable, Callable
from typing import Any, final

from penchant.http.personalize.desk import Desk
from penchant.http.personalize.errors import AwsError
from penchant.http.personalize.requests import Access, ListTagsForResource, TagResource, UntagResource
from penchant.http.personalize.store import Resource, path_of

_MOST = 50


@final
class Tags:
    """Answers TagResource, UntagResource and ListTagsForResource."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.operations: dict[str, tuple[type[Any], Callable[[Any, Access], Awaitable[dict[str, Any]]]]] = {
            "TagResource": (TagResource, self._tag),
            "UntagResource": (UntagResource, self._untag),
            "ListTagsForResource": (ListTagsForResource, self._list),
        }

    async def _tag(self, asked: TagResource, access: Access) -> dict[str, Any]:
        resource = self._resource(asked.resource_arn, access)
        tags = {**_tags(resource), **{tag.tag_key: tag.tag_value for tag in asked.tags}}
        if len(tags) > _MOST:
            raise AwsError("TooManyTagsException", f"A resource has at most {_MOST} tags.")
        return self._kept(resource, tags)

    async def _untag(self, asked: UntagResource, access: Access) -> dict[str, Any]:
        resource = self._resource(asked.resource_arn, access)
        left = {key: value for key, value in _tags(resource).items() if key not in asked.tag_keys}
        return self._kept(resource, left)

    async def _list(self, asked: ListTagsForResource, access: Access) -> dict[str, Any]:
        found = _tags(self._resource(asked.resource_arn, access))
        return {"tags": [{"tagKey": key, "tagValue": value} for key, value in found.items()]}

    def _resource(self, arn: str, access: Access) -> Resource:
        resource = self._desk.store.get(path_of(arn))
        access.check(resource.group)
        return resource

    def _kept(self, resource: Resource, tags: dict[str, str]) -> dict[str, Any]:
        self._desk.store.change(resource.path, now=resource.updated, fields={"_tags": tags})
        return {}


def _tags(resource: Resource) -> dict[str, str]:
    return resource.fields.get("_tags", {})
