"""A drop-in for Amazon Personalize: the calls that boto3 makes, answered by this workspace."""
