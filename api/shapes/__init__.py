"""What routes answer, field by field: for the OpenAPI document, which the tests hold real answers against."""
