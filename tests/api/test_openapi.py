"""The description of the API: complete, consistent with the router, and mounted where the routes are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from litestar.routes import HTTPRoute

from api.app import ROUTES, create_app
from api.bodies import BatchBody
from api.database import Database
from api.service import Service
from api.shapes.routes import ANSWERS
from projections.accounts import STRUCTURE
from projections.history_csv import COLUMNS
from tests.api.served import Caller, new_id, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = "/mt4/manager"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def document(nobody: Caller) -> Any:
    answer = nobody.get("/schema/openapi.json")
    assert answer.status == 200
    return answer.body


@pytest.fixture(scope="module")
def mounted(database_url: str, log_file: Path, admin: Caller) -> Iterator[Caller]:
    """Serve the same ledger under another base path."""
    with serving(database_url, log_file, "--base-path", BASE) as service:
        yield Caller(service, admin.key)


def operations(database_url: str) -> list[tuple[str, str, dict[str, Any]]]:
    app = create_app(Service(Database(database_url, "main"), ledger="main"))
    return [
        (str(method).lower(), _as_described(route.path_format), handler.opt)
        for route in app.routes
        if isinstance(route, HTTPRoute) and not route.path.startswith(("/schema", "/console"))
        for handler in route.route_handlers
        for method in handler.http_methods - {"OPTIONS", "HEAD"}
    ]


def _as_described(path: str) -> str:
    """Give a path with its places named as on the wire: operationId for operation_id."""
    return re.sub(r"_(\w)", lambda found: found[1].upper(), path)


def nodes(value: object) -> Iterator[dict[str, Any]]:
    """Give every object of a document."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(inner)


def resolved(document: Any, reference: str) -> Any:
    assert reference.startswith("#/")
    found = document
    for part in reference[2:].split("/"):
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return found


def schema_of(document: Any, operation: dict[str, Any]) -> Any:
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    return resolved(document, schema["$ref"]) if "$ref" in schema else schema


class TestTheDocument:
    def test_is_openapi_3_1(self, document: Any) -> None:
        assert document["openapi"].startswith("3.1")
        assert document["info"]["title"]
        assert document["paths"]

    def test_every_reference_leads_somewhere(self, document: Any) -> None:
        references = [node["$ref"] for node in nodes(document) if isinstance(node.get("$ref"), str)]
        assert references
        for reference in references:
            assert isinstance(resolved(document, reference), dict)

    def test_holds_every_route_of_the_router_and_no_other(self, document: Any, database_url: str) -> None:
        described = {
            (method, path)
            for path, item in document["paths"].items()
            for method in item
            if method in {"get", "post", "put", "patch", "delete"}
        }
        assert described == {(method, path) for method, path, _ in operations(database_url)}

    def test_every_operation_has_a_summary_an_own_id_and_described_answers(
        self, document: Any, database_url: str
    ) -> None:
        ids = []
        for method, path, _ in operations(database_url):
            operation = document["paths"][path][method]
            assert operation.get("summary") or operation.get("description"), (method, path)
            assert all(answer["description"] for answer in operation["responses"].values())
            ids.append(operation["operationId"])
        assert len(set(ids)) == len(ids)

    def test_every_body_is_described_with_its_fields(self, document: Any, database_url: str) -> None:
        with_body = 0
        for method, path, opt in operations(database_url):
            operation = document["paths"][path][method]
            if "body" not in opt:
                assert "requestBody" not in operation, (method, path)
                continue
            schema = schema_of(document, operation)
            published = opt["body"].__struct_encode_fields__
            assert set(schema["properties"]) == set(published), (method, path)
            assert schema["additionalProperties"] is False
            with_body += 1
        assert with_body == 18

    def test_every_write_but_enable_and_disable_takes_a_described_body(self, database_url: str) -> None:
        without = {
            path for method, path, opt in operations(database_url) if method != "get" and "body" not in opt
        }
        assert without == {"/users/{login}/disable", "/users/{login}/enable"}

    def test_money_is_a_number_or_a_plain_decimal_and_required_fields_are_so(self, document: Any) -> None:
        deposit = schema_of(document, document["paths"]["/balances/deposit"]["post"])
        assert set(deposit["required"]) == {"login", "amount"}
        assert deposit["properties"]["amount"]["oneOf"][0] == {"type": "number"}
        assert set(schema_of(document, document["paths"]["/server"]["put"])["required"]) == {
            "timezone",
            "dayEnd",
            "overnightDays",
            "bookCurrency",
        }

    def test_every_query_parameter_is_described(self, document: Any, database_url: str) -> None:
        for method, path, opt in operations(database_url):
            if "query" not in opt:
                continue
            parameters = document["paths"][path][method].get("parameters", [])
            described = {parameter["name"] for parameter in parameters if parameter["in"] == "query"}
            assert described == set(opt["query"].__struct_encode_fields__), (method, path)

    def test_the_filters_of_history_are_those_of_the_contract(self, document: Any) -> None:
        parameters = document["paths"]["/balances/history"]["get"]["parameters"]
        assert {parameter["name"] for parameter in parameters if parameter["in"] == "query"} == {
            *("login", "groupFilter", "kind", "from", "to", "fromDay", "toDay", "requestId", "reference"),
            *("operatorId", "minAmount", "maxAmount", "basis", "order", "limit", "cursor", "offset"),
            *("totals", "format", "bookedAfter"),
        }

    def test_every_place_in_a_path_is_described(self, document: Any) -> None:
        for path, item in document["paths"].items():
            for operation in item.values():
                described = {
                    parameter["name"]
                    for parameter in operation.get("parameters", [])
                    if parameter["in"] == "path"
                }
                assert described == {part[1:-1] for part in path.split("/") if part.startswith("{")}

    def test_no_parameter_is_described_twice(self, document: Any) -> None:
        for path, item in document["paths"].items():
            for operation in item.values():
                named = [(part["in"], part["name"]) for part in operation.get("parameters", [])]
                assert len(named) == len(set(named)), path

    def test_the_headers_that_name_a_request_are_described(self, document: Any) -> None:
        described = {
            part["name"].lower()
            for part in document["paths"]["/balances/deposit"]["post"].get("parameters", [])
            if part["in"] == "header"
        }
        assert {"x-request-id", "idempotency-key", "x-operator-id"} <= described

    def test_every_route_with_a_scope_asks_for_the_key(self, document: Any, database_url: str) -> None:
        schemes = document["components"]["securitySchemes"]
        for method, path, opt in operations(database_url):
            security = document["paths"][path][method].get("security")
            if opt.get("scope") is None:
                assert not security
            else:
                [(scheme, scopes)] = security[0].items()
                assert scheme in schemes
                assert scopes == ([opt["scope"]] if opt["scope"] else [])

    def test_the_items_of_a_batch_are_described(self, document: Any) -> None:
        schema = schema_of(document, document["paths"]["/balances/batch"]["post"])
        assert set(schema["properties"]) == set(BatchBody.__struct_encode_fields__)
        items = schema["properties"]["operations"]["items"]
        assert items

    @pytest.mark.parametrize(
        ("path", "field", "item"),
        [
            ("/feed/quotes", "quotes", "QuoteItem"),
            ("/feed/positions", "positions", "PositionItem"),
            ("/feed/deals", "deals", "DealItem"),
        ],
    )
    def test_the_items_of_the_feed_are_described(
        self, document: Any, path: str, field: str, item: str
    ) -> None:
        schema = schema_of(document, document["paths"][path]["post"])
        assert schema["properties"][field]["items"] == {"$ref": f"#/components/schemas/{item}"}
        assert item in document["components"]["schemas"]

    def test_problems_are_described(self, document: Any) -> None:
        problem = document["components"]["schemas"]["Problem"]
        assert set(problem["required"]) == {"type", "title", "status", "code", "detail", "requestId"}
        assert problem["additionalProperties"] is False


class TestWhatRoutesAnswer:
    def test_every_route_says_what_it_answers_and_no_other_does(self) -> None:
        assert {handler.handler_name for handler in ROUTES} == set(ANSWERS)

    def test_every_answer_is_described_field_by_field(self, document: Any, database_url: str) -> None:
        for method, path, _ in operations(database_url):
            for status, answer in document["paths"][path][method]["responses"].items():
                schema = answer["content"].get("application/json", {}).get("schema")
                if status < "300" and schema is not None:
                    assert all(_closed(document, part) for part in schema.get("anyOf", [schema])), path

    def test_the_fields_of_accounts_and_history_stand_in_the_published_order(self, document: Any) -> None:
        schemas = document["components"]["schemas"]
        assert tuple(schemas["Profile"]["properties"])[: len(STRUCTURE)] == STRUCTURE
        assert schemas["AccountsPage"]["properties"]["structure"]["const"] == list(STRUCTURE)
        assert len(schemas["AccountsPage"]["properties"]["rows"]["items"]["prefixItems"]) == len(STRUCTURE)
        assert set(schemas["HistoryRow"]["properties"]) == set(COLUMNS)

    def test_its_refusals_are_those_of_the_page_for_people(self, document: Any) -> None:
        assert set(_described_refusals(document)) == _documented_refusals()

    def test_every_route_with_a_key_can_refuse_it(self, document: Any, database_url: str) -> None:
        for method, path, opt in operations(database_url):
            refused = document["paths"][path][method]["responses"].get("401")
            assert (refused is None) == (opt.get("scope") is None), path

    def test_a_link_leads_to_a_route_and_names_what_it_takes(self, document: Any) -> None:
        named = {
            operation["operationId"]: operation
            for item in document["paths"].values()
            for operation in item.values()
        }
        links = [link for node in nodes(document) for link in node.get("links", {}).values()]
        assert links
        for link in links:
            target = named[link["operationId"]]
            assert set(link["parameters"]) <= {parameter["name"] for parameter in target["parameters"]}, link
            body = schema_of(document, target)["properties"] if "requestBody" in link else {}
            assert set(link.get("requestBody", {})) <= set(body), link


def _closed(document: Any, schema: dict[str, Any]) -> bool:
    found = resolved(document, schema["$ref"])
    return bool(found["properties"]) and found["additionalProperties"] is False


def _described_refusals(document: Any) -> Iterator[tuple[str, int, str]]:
    """Give code, status and title of every refusal that any route describes."""
    for item in document["paths"].values():
        for operation in item.values():
            for answer in operation["responses"].values():
                problem = answer["content"].get("application/problem+json")
                if problem is not None:
                    told = problem["schema"]["allOf"][1]["properties"]
                    for code in told["code"]["enum"]:
                        yield code, told["status"]["const"], told["title"]["const"]


def _documented_refusals() -> set[tuple[str, int, str]]:
    """Give those of docs/api.md that a whole call can be answered with."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    text = re.sub(r"^#### \w+ the [\w ]+ only\n.*?(?=^#)", "", page, flags=re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \| (\w+) \|", text, flags=re.MULTILINE)
    return {(code, int(status), title) for code, status, title in rows if code not in OF_ITEMS | OF_NO_ROUTE}


OF_ITEMS = {"bad_deal_id", "bad_price", "bad_quote", "bad_time", "deal_reused", "unknown_symbol"}
"""Only an item of the feed is refused with these."""

OF_NO_ROUTE = {"method_not_allowed"}


class TestTheBrowsablePage:
    @pytest.fixture(params=["/schema", "/schema/"])
    def page(self, request: pytest.FixtureRequest, nobody: Caller) -> str:
        answer = nobody.get(request.param)
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/html")
        return answer.text

    def test_is_served_with_its_assets_by_the_service_itself(self, nobody: Caller, page: str) -> None:
        assert "//" not in page.replace("<!--", "")
        for asset in _loaded(page):
            answer = nobody.get(asset)
            assert (answer.status, bool(answer.text)) == (200, True), asset

    def test_asks_no_outside_host_for_fonts_or_pictures(self, nobody: Caller, page: str) -> None:
        [style] = [asset for asset in _loaded(page) if asset.endswith(".css")]
        assert not re.search(r"url\(\s*['\"]?(https?:)?//", nobody.get(style).text)
        assert "@import" not in nobody.get(style).text

    @pytest.mark.parametrize(
        "asset",
        [
            "nothing.js",
            "%2e%2e/%2e%2e/openapi.py",
            "..%2f..%2fopenapi.py",
            "%2fetc%2fpasswd",
            "",
        ],
    )
    def test_has_no_other_files_beside_it(self, nobody: Caller, asset: str) -> None:
        answer = nobody.get(f"/schema/assets/{asset}")
        assert answer.status in {400, 404}
        assert "import" not in answer.text

    @pytest.mark.parametrize("asset", ["%00", "x" * 5000])
    def test_knows_no_file_of_an_impossible_name(self, nobody: Caller, asset: str) -> None:
        assert nobody.get(f"/schema/assets/{asset}").status in {400, 404}

    def test_what_is_not_there_is_a_problem(self, nobody: Caller) -> None:
        assert nobody.get("/schema/nothing").said == (404, "unknown_route")

    def test_is_served_under_another_base_path_too(self, mounted: Caller) -> None:
        page = mounted.get("/schema")
        assert f'"{BASE}/schema/openapi.json"' in page.text
        for asset in _loaded(page.text):
            assert mounted.get(asset.removeprefix(BASE)).status == 200


def _loaded(page: str) -> list[str]:
    """Give the addresses that a page loads."""
    found = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert found
    return found


class TestAnotherBasePath:
    def test_serves_the_same_routes(self, mounted: Caller, admin: Caller) -> None:
        assert mounted.served.url.endswith(BASE)
        login, request_id = admin.open(), new_id()
        booked = mounted.book("deposit", login=login, amount=5, request_id=request_id)
        assert booked.status == 201
        assert admin.get(f"/requests/{request_id}")["operationId"] == booked["operationId"]
        assert mounted.get(f"/users/{login}")["balance"] == booked["newBalance"]
        assert mounted.get("/balances/history", login=login)["rows"] == admin.history(login=login)
        assert mounted.get("/healthz").status == 200

    def test_serves_nothing_beside_it(self, mounted: Caller) -> None:
        served = mounted.served
        root = served.url.removesuffix(BASE)
        for path in ("/balances/history", "/server", "/mt4", "/schema/openapi.json"):
            assert served.http.get(root + path).status_code == 404
        assert mounted.get("/nope").said == (404, "unknown_route")

    def test_describes_them_under_it(self, mounted: Caller, document: Any) -> None:
        there = mounted.get("/schema/openapi.json").body
        prefixed = {BASE + path for path in document["paths"]}
        assert set(there["paths"]) == prefixed
        assert "requestBody" in there["paths"][f"{BASE}/balances/deposit"]["post"]
