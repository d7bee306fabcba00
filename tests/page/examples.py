"""The examples of the API Keys page, as customers read and paste them, word for word.

Only what the page cannot know is replaced when they run: the address, the token, the id of the key, the login, and the
years of times that have passed since the page was written. Its statistics are not here yet.
"""

from __future__ import annotations

from typing import Any, Final

ADDRESS: Final = "https://api.billoget.com"
TOKEN, KEY_ID = "YOUR_JWT_TOKEN", "api_key_123"
EMAIL, PASSWORD = "your-email@example.com", "your-password"
PAST_YEAR, FUTURE_YEAR = "2024-", "2034-"

LOGIN: Final = """\
curl -X POST "https://api.billoget.com/v1/auth/login" \\
-H "Content-Type: application/json" \\
-d '{
"email": "your-email@example.com",
"password": "your-password"
}'
"""

CREATE: Final = """\
curl -X POST "https://api.billoget.com/api-keys" \\
-H "Authorization: Bearer YOUR_JWT_TOKEN" \\
-H "Content-Type: application/json" \\
-d '{
"name": "My E-commerce Integration",
"description": "API key for Shopify integration",
"scopes": ["READ_BUDGETS", "WRITE_BUDGETS", "READ_CUSTOMERS", "WRITE_CUSTOMERS"],
"rateLimitPerHour": 1000,
"allowedIps": ["192.168.1.100", "10.0.0.50"],
"expiresAt": "2024-12-31T23:59:59Z",
"webhookUrl": "https://myapp.com/webhooks/billoget"
}'
"""

LIST: Final = """\
curl -X GET "https://api.billoget.com/api-keys" \\
-H "Authorization: Bearer YOUR_JWT_TOKEN"
"""

GET: Final = """\
curl -X GET "https://api.billoget.com/api-keys/api_key_123" \\
-H "Authorization: Bearer YOUR_JWT_TOKEN"
"""

UPDATE: Final = """\
curl -X PUT "https://api.billoget.com/api-keys/api_key_123" \\
-H "Authorization: Bearer YOUR_JWT_TOKEN" \\
-H "Content-Type: application/json" \\
-d '{
"name": "Updated Integration Name",
"status": "ACTIVE",
"rateLimitPerHour": 2000
}'
"""

STATISTICS: Final = """\
curl -X GET "https://api.billoget.com/api-keys/api_key_123/stats?period=7d" \\
-H "Authorization: Bearer YOUR_JWT_TOKEN"
"""

STATISTICS_MEMBERS: Final = {
    "period": str,
    "totalRequests": int,
    "successfulRequests": int,
    "errorRequests": int,
    "averageResponseTime": float,
    "topEndpoints": list,
    "dailyUsage": list,
}

PERIODS: Final = ("1h", "24h", "7d", "30d", "90d")

DELETE: Final = """\
curl -X DELETE "https://api.billoget.com/api-keys/api_key_123" \\
-H "Authorization: Bearer YOUR_JWT_TOKEN"
"""

CREATED: Final[dict[str, Any]] = {
    "id": "api_key_123",
    "name": "My E-commerce Integration",
    "key": "bk_live_1234567890abcdef1234567890abcdef",
    "keyPrefix": "bk_live_1234",
    "scopes": ["READ_BUDGETS", "WRITE_BUDGETS", "READ_CUSTOMERS", "WRITE_CUSTOMERS"],
    "rateLimitPerHour": 1000,
    "status": "ACTIVE",
    "allowedIps": ["192.168.1.100", "10.0.0.50"],
    "expiresAt": "2024-12-31T23:59:59Z",
    "webhookUrl": "https://myapp.com/webhooks/billoget",
    "createdAt": "2024-01-15T10:30:00Z",
}

SCOPE_LISTS: Final = {
    "readOnlyScopes": ["READ_BUDGETS", "READ_CUSTOMERS"],
    "budgetScopes": ["READ_BUDGETS", "WRITE_BUDGETS"],
    "fullScopes": [
        *("READ_BUDGETS", "WRITE_BUDGETS", "READ_CUSTOMERS", "WRITE_CUSTOMERS", "READ_PRODUCTS", "WRITE_PRODUCTS"),
        "WEBHOOKS",
    ],
}

SETTINGS: Final[list[dict[str, Any]]] = [
    {"allowedIps": ["192.168.1.100", "10.0.0.50", "203.0.113.0/24"]},
    {"expiresAt": "2024-12-31T23:59:59Z"},
    {"scopes": ["READ_BUDGETS", "READ_CUSTOMERS"]},
    {"rateLimitPerHour": 500},
    {"allowedIps": ["203.0.113.100"]},
    {"expiresAt": "2024-06-30T23:59:59Z"},
]

# The table of scopes: what each of them opens.
ENDPOINTS: Final = {
    "READ_BUDGETS": "GET /api/public/budgets/*",
    "WRITE_BUDGETS": "POST/PUT/DELETE /api/public/budgets/*",
    "READ_CUSTOMERS": "GET /api/public/customers/*",
    "WRITE_CUSTOMERS": "POST/PUT/DELETE /api/public/customers/*",
    "READ_PRODUCTS": "GET /api/public/products/*",
    "WRITE_PRODUCTS": "POST/PUT/DELETE /api/public/products/*",
    "WEBHOOKS": "POST /api/public/webhooks/test",
}

JAVASCRIPT: Final = """\
class BillogetAPI {
constructor(apiKey) {
this.apiKey = apiKey;
this.baseUrl = "https://api.billoget.com/v1";
}

async createApiKey(keyData) {
const response = await fetch(`${this.baseUrl}/api-keys`, {
method: "POST",
headers: {
Authorization: `Bearer ${this.jwtToken}`,
"Content-Type": "application/json",
},
body: JSON.stringify(keyData),
});

return response.json();
}

async getApiKeyStats(keyId, period = "7d") {
const response = await fetch(
`${this.baseUrl}/api-keys/${keyId}/stats?period=${period}`,
{
headers: {
Authorization: `Bearer ${this.jwtToken}`,
},
}
);

return response.json();
}
}
"""

# Indented again: the page lost that on its way to us.
PYTHON: Final = """\
import requests
import json

class BillogetAPI:
    def __init__(self, jwt_token):
        self.jwt_token = jwt_token
        self.base_url = 'https://api.billoget.com/v1'
        self.headers = {
            'Authorization': f'Bearer {jwt_token}',
            'Content-Type': 'application/json'
        }

    def create_api_key(self, key_data):
        response = requests.post(
            f'{self.base_url}/api-keys',
            headers=self.headers,
            json=key_data
        )
        return response.json()

    def get_api_key_stats(self, key_id, period='7d'):
        response = requests.get(
            f'{self.base_url}/api-keys/{key_id}/stats?period={period}',
            headers=self.headers
        )
        return response.json()
"""


def filled(text: str, base: str, token: str = "", key_id: str = "") -> str:
    """An example for the gateway at *base*, in a year when the page's times are still to come."""
    text = text.replace(f"{ADDRESS}/v1", base).replace(ADDRESS, base)
    return text.replace(TOKEN, token).replace(KEY_ID, key_id).replace(PAST_YEAR, FUTURE_YEAR)
