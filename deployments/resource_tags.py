"""The tags that a CloudFormation template declares.

https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-codepipeline-pipeline.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect_codepipeline.engine.operations.tagging import put_tags
from prefect_codepipeline.errors import PipelineServiceError


def put_declared_tags(arn: str, properties: Mapping[str, Any]) -> str:
    """Tag a new resource; what was left out and why, or an empty text.

    Args:
        arn: of the resource.
        properties: of the template, with `Tags`.
    """
    declared = [each for each in properties.get("Tags") or [] if isinstance(each, dict)]
    tags = {str(each.get("Key")): str(each.get("Value", "")) for each in declared}
    known = {key: value for key, value in tags.items() if "${" not in key + value}
    try:
        put_tags(arn, known)
    except PipelineServiceError as error:
        return f"it has no tags: {error}"
    unknown = sorted(tags.keys() - known.keys())
    return f"it has no tag {', '.join(unknown)}, whose value is not known" if unknown else ""
