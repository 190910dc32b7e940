"""What a ledger answers about an operation: as it was answered first, and as a row of history."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.model.model import Body, Model, written

OF_A_LEG = ("login", "newBalance", "newCredit", "balanceChange", "creditChange", "warnings", "stale")
NOT_IN_HISTORY = ("expiresAt", "stale")


def instant(at: datetime) -> str:
    """Give an instant as answers write it."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def told(model: Model, operation: Body) -> Body:
    """Give an operation as it was answered first."""
    if not operation["legs"]:
        answer: Body = operation["answer"]
        return answer | {"operationId": operation["id"], "requestId": operation["requestId"]}
    legs = [told_of(model, leg) for leg in operation["legs"]]
    if len(legs) == 1:
        return legs[0]
    return {name: value for name, value in legs[0].items() if name not in OF_A_LEG} | {"legs": legs}


def told_of(model: Model, leg: Body) -> Body:
    """Give one leg of it."""
    operation = leg["operation"]
    asked, digits = operation["asked"], model.group_of(leg["login"])["digits"]
    amount = asked.get("amount", leg["balance"] or leg["credit"])
    answer = {
        "operationId": operation["id"],
        "status": "accepted",
        "kind": asked["kind"],
        "login": leg["login"],
        "amount": written(amount, digits),
        "currency": model.group_of(leg["login"])["currency"],
        "newBalance": written(leg["balanceAfter"], digits),
        "newCredit": written(leg["creditAfter"], digits),
        "balanceChange": written(leg["balance"], digits),
        "creditChange": written(leg["credit"], digits),
        "requestId": operation["requestId"],
        "reference": asked.get("reference"),
        "position": leg["position"],
        "serverDay": str(leg["serverDay"]),
        "recordedAt": instant(operation["recordedAt"]),
        "effectiveAt": instant(operation["effectiveAt"]),
    }
    if leg["expires"]:
        answer["expiresAt"] = instant(leg["expires"])
    if corrects := asked.get("corrects", asked.get("operationId")):
        answer["corrects"] = corrects
    if leg["warnings"]:
        answer["warnings"] = leg["warnings"]
    if leg["stale"]:
        answer["stale"] = True
    return answer


def row_of(model: Model, leg: Body) -> Body:
    """Give one leg as a row of history."""
    operation, answer = leg["operation"], told_of(model, leg)
    asked, digits = operation["asked"], model.group_of(leg["login"])["digits"]
    balance, credit = leg.get("stood", (leg["balanceAfter"], leg["creditAfter"]))  # by the basis asked for
    system = asked["kind"] == "credit" and operation["requestId"].startswith("~")
    shared = {name: value for name, value in answer.items() if name not in NOT_IN_HISTORY}
    return shared | {
        "group": leg["group"],
        "tradingDay": str(leg["tradingDay"]),
        "warnings": leg["warnings"],
        "balanceBefore": written(balance - leg["balance"], digits),
        "balanceAfter": written(balance, digits),
        "creditBefore": written(credit - leg["credit"], digits),
        "creditAfter": written(credit, digits),
        "comment": asked.get("comment", asked.get("reason")),
        "method": asked.get("method"),
        "operatorId": "system" if system else None,
        "corrects": answer.get("corrects"),
        "reversedBy": operation["reversedBy"]["id"] if "reversedBy" in operation else None,
        "peer": next((other["login"] for other in operation["legs"] if other["login"] != leg["login"]), None),
        "metadata": asked.get("metadata"),
    }


def operation_of(model: Model, done: Body) -> Body:
    """Give an operation with what answers it."""
    corrected = [op["id"] for op in model.operations.values() if op["asked"].get("corrects") == done["id"]]
    reversed_by = done["reversedBy"]["id"] if "reversedBy" in done else None
    return told(model, done) | {"correctedBy": corrected, "reversedBy": reversed_by}
