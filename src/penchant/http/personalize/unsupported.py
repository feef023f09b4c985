"""What is not done here, and what to do instead: no operation is refused without an alternative."""

from penchant.http.personalize.errors import AwsError, invalid

INSTEAD: dict[str, str] = {
    "CreateDatasetExportJob": "the data stands in Parquet files under log/segments of the group's folder",
    "DescribeDatasetExportJob": "the data stands in Parquet files under log/segments of the group's folder",
    "ListDatasetExportJobs": "the data stands in Parquet files under log/segments of the group's folder",
    "DescribeAlgorithm": "DescribeRecipe says what answers for a recipe",
    "DescribeFeatureTransformation": "DescribeRecipe says what answers for a recipe",
    "StopSolutionVersionCreation": "end the training's process; its solution version is then CREATE FAILED",
    "UpdateSolution": "the server trains when asked; call CreateSolutionVersion on a schedule",
    "UpdateDataset": "a schema is not needed to store columns; import the new columns as they are",
}
"""Operation -> the alternative, as a sentence goes on after "is not supported: "."""


def refusal(operation: str) -> AwsError:
    """Return the refusal of an operation that is not answered here."""
    instead = INSTEAD.get(operation)
    if instead is None:
        return invalid(f"There is no operation {operation[:100]} in Amazon Personalize's control plane.")
    return invalid(f"{operation} is not supported: {instead}.")
