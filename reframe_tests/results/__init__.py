"""The one reader of results: records, verdicts, history and the statistics they are judged by."""
