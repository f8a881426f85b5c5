"""What `make up` shows when everything runs: addresses, logins, and a pairing to paste."""

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from dev.environment import Choice

TAKE = (
    "import json, sys; a = json.load(sys.stdin); print(a['udid'], a['user_code'], a['device_code'])"
)
SUBSCRIBER = "S000002"
JSON = "-H 'Content-Type: application/json'"


def pairing_lines(base_url: str, api_key: str) -> list[str]:
    """Three lines for any shell: a screen asks, the operator approves, the screen collects."""
    pairings = f"{base_url}/api/v1/pairings"
    body = '{"app_type": "tv", "model": "Demo TV"}'
    grant = f'{{\\"user_code\\": \\"$2\\", \\"subscriber_code\\": \\"{SUBSCRIBER}\\"}}'
    key = f"-H 'Authorization: Bearer {api_key}'"
    return [
        f"""set -- $(curl -s {pairings}/ {JSON} -d '{body}' | python3 -c "{TAKE}"); echo "$@\"""",
        f"""curl -s {pairings}/associate/ {key} {JSON} -d "{grant}\"""",
        f"""curl -s -X POST {pairings}/$1/credentials/ -H "Authorization: Bearer $3\"""",
    ]


def show(console: Console, choice: Choice, demo: dict[str, str], took_s: float) -> None:
    """Print the panel and the lines. `demo` is what `manage.py demo` reported."""
    rows = Table.grid(padding=(0, 2))
    rows.add_row("API docs", f"{choice.base_url}/api/docs/")
    rows.add_row("Admin", f"{choice.base_url}/admin/")
    rows.add_row("Login", f"{demo['admin_user']} / {demo['admin_password']}")
    rows.add_row("Demo TV", f"{choice.base_url}/demo/tv/")
    rows.add_row("Activate page", f"{choice.base_url}/activate/")
    rows.add_row("Login there", f"ana / {demo['admin_password']}")
    rows.add_row("Demo API key", demo["api_key"])
    rows.add_row("For scripts", str(choice.run_dir / "up.env"))
    rows.add_row("Logs", str(choice.run_dir / "log"))
    title = f"Stabilizer is up ({took_s:.1f} s)"
    console.print(Panel(rows, title=title, expand=False), soft_wrap=True, highlight=False)
    console.print("\nPair a screen: paste these three lines into another terminal.\n")
    for line in pairing_lines(choice.base_url, demo["api_key"]):
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    console.print("\nCtrl-C stops everything.")
