"""docs/errors.md lists every error and every warning that the code can send, as the code has them."""

import ast
from pathlib import Path
from typing import get_args

import mattebridge_server
from mattebridge.errors import error_classes
from mattebridge_server.error_page import EXIT_STATUSES, WARNINGS, render
from mattebridge_server.pipeline.preflight import Kind

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"


def test_the_page_is_what_the_code_says():
    assert PAGE.read_text(encoding="utf-8") == render(), "run python -m mattebridge_server.error_page > docs/errors.md"


def test_every_error_has_a_code_a_cause_a_remedy_and_a_known_exit_status():
    page = render()
    for code, cls in error_classes().items():
        assert f"`{code}`" in page
        assert cls.cause.endswith(".")
        assert cls.default_remedy.endswith(".")
        assert cls.exit_status in EXIT_STATUSES


def warnings_in(tree):
    """Codes given to anything that is called warn, warning, _warn, _warn_once or JobWarning."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in ("warn", "warning", "_warn", "_warn_once", "JobWarning"):
            values = [*node.args[:2], *(keyword.value for keyword in node.keywords if keyword.arg == "code")]
            for value in values:
                if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value.isupper():
                    yield value.value


def test_every_warning_that_the_code_sends_is_listed_and_no_other():
    found = {kind.upper() for kind in get_args(Kind)}
    for path in Path(mattebridge_server.__file__).parent.rglob("*.py"):
        found |= set(warnings_in(ast.parse(path.read_text(encoding="utf-8"))))
    assert found == set(WARNINGS)
