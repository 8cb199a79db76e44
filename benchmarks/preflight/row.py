"""One row of the preflight's table, and its three states."""

PASS, WARN, FAIL = "PASS", "WARN", "FAIL"


def row(host: str, check: str, status: str, found, expected="", remedy: str = "") -> dict:
    """One row of the table."""
    return {
        "host": host,
        "check": check,
        "status": status,
        "found": str(found),
        "expected": str(expected),
        "remedy": remedy,
    }
