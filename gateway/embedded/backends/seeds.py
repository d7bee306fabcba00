"""The rows a fresh demo starts with: a small workshop's customers, catalogue and budgets."""

from __future__ import annotations

import datetime
from typing import Any

_PEOPLE = (
    ("Ana", "Torres", "ana.torres@example.com", "+54 11 5550 0101"),
    ("Bruno", "Acosta", "bruno.acosta@example.com", "+54 11 5550 0102"),
    ("Carla", "Medina", "carla.medina@example.com", "+54 351 555 0103"),
    ("Diego", "Sosa", "diego.sosa@example.com", "+54 341 555 0104"),
    ("Elena", "Rossi", "elena.rossi@example.com", "+39 06 5550 0105"),
    ("Felix", "Braun", "felix.braun@example.com", "+49 30 5550 0106"),
    ("Grace", "Okafor", "grace.okafor@example.com", "+234 1 555 0107"),
    ("Hugo", "Martin", "hugo.martin@example.com", "+33 1 5550 0108"),
    ("Irene", "Pereira", "irene.pereira@example.com", "+351 21 555 0109"),
    ("John", "Doe", "john.doe@example.com", "+1 212 555 0110"),
    ("Karin", "Lind", "karin.lind@example.com", "+46 8 555 0111"),
    ("Luis", "Vega", "luis.vega@example.com", "+34 91 555 0112"),
)

_CATALOGUE = (
    ("LAP-001", "Laptop 14", "Light laptop with 16 GB of memory", "Electronics", 1299.99, "product"),
    ("LAP-002", "Laptop 16", "Workstation laptop with 32 GB of memory", "Electronics", 2149.0, "product"),
    ("MON-001", "Monitor 27", "27 inch monitor with USB-C", "Electronics", 349.5, "product"),
    ("KEY-001", "Keyboard", "Mechanical keyboard, quiet switches", "Electronics", 89.9, "product"),
    ("DSK-001", "Desk", "Height-adjustable desk, oak", "Furniture", 620.0, "product"),
    ("CHR-001", "Chair", "Office chair with arm rests", "Furniture", 279.0, "product"),
    ("LMP-001", "Lamp", "Desk lamp, dimmable", "Furniture", 45.0, "product"),
    ("SHT-001", "T-shirt", "Cotton T-shirt", "Clothing", 25.0, "product"),
    ("PAP-001", "Paper", "500 sheets of A4 paper", "Supplies", 6.5, "product"),
    ("INK-001", "Ink", "Black ink cartridge, withdrawn", "Supplies", 19.0, "product"),
    ("INS-001", "Installation", "On-site installation, per hour", "Services", 60.0, "service"),
    ("SUP-001", "Support", "Remote support, per month", "Services", 120.0, "service"),
)

_SHIRTS = (("Small, blue", "S", "blue", True), ("Medium, red", "M", "red", True), ("Large, green", "L", "green", False))

_PENDING, _APPROVED, _REJECTED = 0, 1, 2

# Customer, title, state, then quantity and place in the catalogue of each item.
_OFFERS = (
    (1, "Two laptops for the front desk", _PENDING, ((2, 0),)),
    (2, "Office for five people", _APPROVED, ((5, 4), (5, 5), (5, 6))),
    (3, "Monitors for the design team", _PENDING, ((6, 2),)),
    (4, "Paper for a year", _REJECTED, ((120, 8),)),
    (5, "Workstation with installation", _APPROVED, ((1, 1), (3, 10))),
    (6, "Keyboards", _PENDING, ((12, 3),)),
    (7, "Support contract", _APPROVED, ((12, 11),)),
    (8, "Staff T-shirts", _PENDING, ((40, 7),)),
    (9, "Reception furniture", _REJECTED, ((1, 4), (2, 5))),
    (10, "Laptop and monitor", _PENDING, ((1, 0), (1, 2))),
    (11, "Installation of six desks", _APPROVED, ((6, 4), (9, 10))),
    (1, "Lamps", _PENDING, ((8, 6),)),
)


def customers() -> list[dict[str, Any]]:
    """Bodies that create a dozen customers."""
    return [
        {"firstName": first, "lastName": last, "email": email, "phoneNumber": phone}
        for first, last, email, phone in _PEOPLE
    ]


def products() -> list[dict[str, Any]]:
    """Bodies that create a dozen products, one of them with variants and one inactive."""
    return [
        {
            "productCode": code,
            "name": name,
            "description": description,
            "category": category,
            "price": price,
            "type": kind,
            "stock": 50 if kind == "product" else 0,
            "isActive": "withdrawn" not in description,
            "variants": _shirts(price) if name == "T-shirt" else [],
        }
        for code, name, description, category, price, kind in _CATALOGUE
    ]


def budgets(today: datetime.date) -> list[dict[str, Any]]:
    """Bodies that create a dozen budgets, issued every three days up to *today* and valid for 30 days."""
    return [
        {
            "customerId": customer,
            "customerName": " ".join(_PEOPLE[customer - 1][:2]),
            "title": title,
            "currency": "USD",
            "state": state,
            "issueDate": today - datetime.timedelta(days=3 * age),
            "expirationDate": today + datetime.timedelta(days=30 - 3 * age),
            "items": [_item(quantity, place) for quantity, place in items],
        }
        for age, (customer, title, state, items) in zip(reversed(range(len(_OFFERS))), _OFFERS, strict=True)
    ]


def approvals() -> list[dict[str, Any]]:
    """Documents of approvals of the first budgets, one in each status."""
    return [
        {"budgetId": budget, "requestedBy": 1, "approvedBy": decided_by, "status": status, "action": action}
        for budget, decided_by, status, action in (
            (2, 2, "approved", "approved"),
            (4, 2, "rejected", "rejected"),
            (6, None, "cancelled", "cancelled"),
            (3, None, "pending", "submitted"),
        )
    ]


def _shirts(price: float) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "price": price,
            "stock": 100,
            "attributes": {"size": size, "color": color},
            "isActive": active,
            "sortOrder": place,
        }
        for place, (name, size, color, active) in enumerate(_SHIRTS)
    ]


def _item(quantity: int, place: int) -> dict[str, Any]:
    _, _, description, _, price, _ = _CATALOGUE[place]
    return {"productId": place + 1, "description": description, "quantity": quantity, "unitPrice": price}
