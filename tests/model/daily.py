"""What GET /reports/daily must answer: opening, movements, closing."""

from __future__ import annotations

from datetime import date

from tests.model.masks import selects
from tests.model.model import Body, Model, summed, written


def daily(model: Model, day: date, mask: str) -> Body:
    """Give the report of a server day, by group and by currency."""
    entries = [leg | {"kind": leg["operation"]["asked"]["kind"]} for leg in model.legs] + model.moves
    entries = [entry for entry in entries if entry["serverDay"] <= day and selects(mask, entry["group"])]
    groups = sorted({entry["group"] for entry in entries})
    currencies = sorted({model.groups[name]["currency"] for name in groups})
    return {
        "day": str(day),
        "closed": day < model.today()[0],
        "rows": [
            {"group": name} | _day_of(model, day, [entry for entry in entries if entry["group"] == name])
            for name in groups
        ],
        "totals": [
            _day_of(model, day, [e for e in entries if model.groups[e["group"]]["currency"] == currency])
            for currency in currencies
        ],
    }


def _day_of(model: Model, day: date, entries: list[Body]) -> Body:
    group = model.groups[entries[0]["group"]]
    now = [entry for entry in entries if entry["serverDay"] == day]
    legs = [entry for entry in now if entry["kind"] != "group-change"]
    kinds = sorted({entry["kind"] for entry in now})
    moved = {kind: summed([entry for entry in now if entry["kind"] == kind]) for kind in kinds}
    opening = summed([entry for entry in entries if entry["serverDay"] < day])
    closing = summed(entries)
    report: Body = {"currency": group["currency"], "operations": len(legs)}
    report["activeAccounts"] = len({leg["login"] for leg in legs})
    for index, name in enumerate(("balance", "credit")):
        shown = {kind: sums[index] for kind, sums in moved.items() if sums[index] or not any(sums)}
        report[name] = {
            "opening": written(opening[index], group["digits"]),
            "movements": {kind: written(amount, group["digits"]) for kind, amount in shown.items()},
            "closing": written(closing[index], group["digits"]),
        }
    return report
