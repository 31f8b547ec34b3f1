"""Secrets and personal data in every place where a caller, an account or a server outside can put some; driven to success and to failure."""

import base64
import contextlib
import socket
import struct
import subprocess
from typing import Any
from uuid import uuid4

import httpx

from service.demo import APP
from tests.cell import TUTTI
from tests.telemetry.service import ECHOED, KEYS, MAIL_PASSWORD, METRICS_TOKEN, Service

BEARER = "planted-bearer-4c1f"
CLIENT_SECRET = "planted-client-secret-91be"
PASSWORD = "planted-password-2d7a"
WORKFLOW_SECRET = "planted-workflow-secret-5e0b"
SIGNAL = "planted-signal-payload-c3d9"
INPUT = "planted-trigger-input-e6f2"
NAME = "Planted Person 7a1c"
EMAIL = "planted.person@mail.example"
CODE = "planted-authorization-code-b80d"
BASIC = base64.b64encode(f"{EMAIL}:{PASSWORD}".encode()).decode()
ADDRESS = "planted-in-an-address-f4a5"
HEADER = "planted-in-a-header-16ce"
QUERY = "planted-in-a-query-8e27"
COOKIE = "planted-in-a-cookie-d0b3"
BODY = "planted-in-a-refused-body-57c8"
PLANTED = (
    *(
        BEARER,
        CLIENT_SECRET,
        PASSWORD,
        WORKFLOW_SECRET,
        SIGNAL,
        INPUT,
        NAME,
        EMAIL,
        CODE,
        BASIC,
        ADDRESS,
        HEADER,
        QUERY,
        COOKIE,
        BODY,
    ),
    *(ECHOED, MAIL_PASSWORD, METRICS_TOKEN, KEYS),
)

# What makes the service fail where it writes: the database's message quotes the whole row.
BREAKING = """
CREATE FUNCTION breaks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = '23514', CONSTRAINT = 'breaks_' || TG_TABLE_NAME, MESSAGE = NEW::text
        || coalesce(convert_from(decode(substr(to_jsonb(NEW) ->> 'event', 3), 'hex'), 'UTF8'), '');
END
$$;
CREATE TRIGGER breaks BEFORE INSERT ON instance FOR EACH ROW WHEN (NEW.name LIKE '%breaks%') EXECUTE FUNCTION breaks();
CREATE TRIGGER breaks BEFORE INSERT ON signal FOR EACH ROW
    WHEN (encode(NEW.event, 'escape') LIKE '%breaks%') EXECUTE FUNCTION breaks();
CREATE TRIGGER breaks BEFORE INSERT ON task_run FOR EACH ROW WHEN (NEW.name = 'breaks') EXECUTE FUNCTION breaks();
CREATE TRIGGER breaks BEFORE INSERT ON webhook_attempt FOR EACH ROW
    WHEN (NEW.answer IS NOT NULL) EXECUTE FUNCTION breaks();
"""
MENDED = "DROP FUNCTION breaks() CASCADE"


def definition(service: Service) -> dict[str, Any]:
    """A workflow that reads a secret, calls, writes an e-mail and fails, with something planted wherever text may stand."""
    about = {"dsl": "1.0.3", "namespace": "tests", "name": "planted", "version": "1.0.0", "title": NAME}
    headers = {"Authorization": '${ "Bearer " + $secrets.crm }', "X-Planted": HEADER}
    call = {
        "method": "post",
        "endpoint": f"{service.outside.url}/ok?key={ADDRESS}",
        "headers": headers,
        "body": "${ . }",
    }
    fail = {**call, "endpoint": f"{service.outside.url}/fail?key={ADDRESS}"}
    mail = {"recipients": [EMAIL], "subject": NAME, "message": INPUT}
    caught = {"do": [{"go-on": {"set": {"went": "${ . }"}}}]}
    return {
        "document": about,
        "use": {"secrets": ["crm"]},
        "do": [
            {"ask": {"call": "http", "with": call}},
            {"fails": {"try": [{"inner": {"call": "http", "with": fail}}], "catch": caught}},
            {"mails": {"try": [{"letter": {"call": "email", "with": mail}}], "catch": caught}},
            {"listens": {"listen": {"to": {"one": {"with": {"type": "planted"}}}}}},
            {"breaks": {"set": {"text": INPUT}}},
        ],
    }


def plant(service: Service) -> list[str]:
    """Do it all; return the secrets that the service itself has made meanwhile."""
    set_secret = (TUTTI, "secret", "set", "crm", "--account", service.cell.acme.id)
    subprocess.run(set_secret, env=service.cell.environment, input=WORKFLOW_SECRET.encode(), check=True)
    found = [service.cell.acme.token, service.cell.globex.token]
    hook = {"url": f"{service.outside.url}/fail?key={ADDRESS}", "description": NAME}
    found.append(service.client.post(f"{service.acme}/webhooks", json=hook).json()["secret"])
    found += run_instances(service)
    show_wrong_proofs(service)
    ask_oddly(service)
    be_refused(service)
    return found


def run_instances(service: Service) -> list[str]:
    """Trigger, signal and break instances; return the secrets of their addresses."""
    workflow = service.published(definition(service))
    body = {"instance_name": NAME, "trigger_inputs": {"who": INPUT, "email": EMAIL}}
    answer = service.client.post(f"{workflow}/actions/trigger", json=body)
    assert answer.status_code == 201, answer.text
    page = httpx.URL(answer.json()["instance_url"])
    service.client.get(page.raw_path.decode())
    httpx.get(str(page.copy_with(host="127.0.0.1", port=service.port)))
    instance = f"{workflow}/instances/{answer.json()['instance_id']}"
    signal = {"type": "planted", "data": {"text": SIGNAL}}
    until_listening(service, instance)
    broken = service.client.post(
        f"{workflow}/actions/trigger", json={**body, "instance_name": f"breaks {NAME}"}
    )
    assert broken.status_code == 500, broken.text
    broken = service.client.post(f"{instance}/actions/signal", json={**signal, "source": f"breaks/{SIGNAL}"})
    assert broken.status_code == 500, broken.text
    assert service.client.post(f"{instance}/actions/signal", json=signal).status_code in (200, 201, 202, 204)
    return [page.params["mtsec"]]


def until_listening(service: Service, instance: str) -> None:
    """Wait until an instance waits for an event."""
    service.client.get(f"{instance}/wait", params={"until": "waiting", "timeout": "15"})


def show_wrong_proofs(service: Service) -> None:
    """Show tokens, passwords, codes and secrets that are none, and some that are, wherever one can be shown."""
    url = f"http://127.0.0.1:{service.port}"
    with httpx.Client(base_url=url) as stranger:
        for proof in (f"Bearer {BEARER}", f"Basic {BASIC}", f"Digest {BEARER}", f"Bearer {METRICS_TOKEN}"):
            headers = {"Authorization": proof}
            for path in (
                f"{service.acme}/workflows",
                "/metrics",
                "/oauth/userinfo",
                "/api/orchestration/workflows",
            ):
                stranger.get(path, headers=headers)
            stranger.get(
                "/KeyfactorAPI/Workflow/Definitions",
                headers=headers | {"X-Keyfactor-Requested-With": "APIClient"},
            )
        client = {"client_id": str(uuid4()), "client_secret": CLIENT_SECRET}
        back = f"https://{NAME.replace(' ', '')}:{PASSWORD}@app.example/back?code={CODE}"
        for form in (
            {
                "grant_type": "authorization_code",
                "code": CODE,
                "redirect_uri": back,
                "code_verifier": CODE * 2,
            },
            {"grant_type": "refresh_token", "refresh_token": BEARER},
            {"grant_type": "client_credentials", "scope": BEARER},
            {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": f"a.{BEARER}.c"},
            {"grant_type": CODE},
        ):
            stranger.post("/oauth/token", data=form | client)
            stranger.post("/oauth/token", data=form, headers={"Authorization": f"Basic {BASIC}"})
        for path in ("/oauth/revoke", "/oauth/introspect"):
            stranger.post(path, data={"token": BEARER} | client)
        public = {"client_id": str(APP), "response_type": "code", "state": CODE}
        stranger.get("/oauth/auth", params=public | {"redirect_uri": back, "login_hint": EMAIL})
        stranger.get("/oauth/auth", params=public | {"redirect_uri": "http://127.0.0.1:3000/callback"})
        stranger.post(
            "/oauth/login",
            data={"email": EMAIL, "password": PASSWORD, "csrf": CODE},
        )


def be_refused(service: Service) -> None:
    """Send tokens in queries and cookies, and bodies that are refused, to routes of every dialect, with a good proof and with bad ones."""
    tokens = f"access_token={QUERY}&token={QUERY}&mtsec={QUERY}&code={QUERY}&{QUERY}={QUERY}"
    names = ("tutti_session", "__Host-tutti_session", "tutti_device", COOKIE)
    headers = {
        "Cookie": "; ".join(f"{name}={COOKIE}" for name in names),
        "X-Keyfactor-Requested-With": "APIClient",
    }
    good = {"Authorization": f"Bearer {service.cell.acme.token}"}
    refused = (f'{{"name": ["{BODY}"], "{BODY}": "{BODY}", "trigger_inputs": "{BODY}"}}', f'"{BODY}\\ud800')
    with httpx.Client(base_url=f"http://127.0.0.1:{service.port}", headers=headers) as client:
        for path in (
            *("/readyz", "/metrics", "/oauth/auth", "/oauth/login", "/oauth/consent", "/oauth/userinfo"),
            *(f"{service.acme}/workflows", f"{service.acme}/workflow-instances", f"{service.acme}/audit"),
            *("/api/orchestration/v2/instances", "/KeyfactorAPI/Workflow/Instances", "/console"),
        ):
            for proof in ({}, good):
                client.get(f"{path}?{tokens}", headers=proof)
        client.get("/KeyfactorAPI/Workflow/Instances", headers={"Authorization": f"Basic {BASIC}"})
        for path in (
            *("/oauth/token", "/oauth/login", f"{service.acme}/workflows", f"{service.acme}/bus-events"),
            *("/api/orchestration/v2/workflows", "/KeyfactorAPI/Workflow/Definitions"),
        ):
            kind = "x-www-form-urlencoded" if path.startswith("/oauth") else "json"
            for body in refused:
                told = good | {"Content-Type": f"application/{kind}"}
                client.post(f"{path}?{tokens}", content=body, headers=told)
        with contextlib.suppress(httpx.TransportError):  # it may be cut off before all is sent
            client.post(f"{service.acme}/workflows", content=BODY * 300_000, headers=good)


def ask_oddly(service: Service) -> None:
    """Plant in what is no proof: paths, queries, headers, cookies, methods, bodies that are none, bytes that are no HTTP."""
    odd = {
        "X-Request-Id": HEADER,
        "User-Agent": HEADER,
        "Cookie": f"session={HEADER}",
        "traceparent": f"00-{HEADER}",
        "tracestate": f"planted={HEADER}",
        "Referer": f"https://app.example/?{HEADER}",
        "X-Forwarded-For": HEADER,
        "Origin": f"https://{HEADER}.example",
        "Idempotency-Key": HEADER,
    }
    good = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    for headers in (odd, odd | good):
        service.client.get(f"/{ADDRESS}/{ADDRESS}?token={BEARER}", headers=headers)
        service.client.get(f"/v1/accounts/{ADDRESS}/workflows/{ADDRESS}", headers=headers)
        service.client.get(
            f"{service.acme}/workflow-instances/search", params={"name_contains": NAME}, headers=headers
        )
        service.client.post(f"{service.acme}/workflows", content=f'{{"{INPUT}": '.encode(), headers=headers)
    service.client.post(f"{service.acme}/webhooks", json={"url": f"https://a:{PASSWORD}@hooks.example/"})
    service.client.post(f"{service.acme}/invitations", json={"email": EMAIL, "role": "sender", "name": NAME})
    for raw in (
        f"PLANT{BEARER} /{ADDRESS} HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET /?{ADDRESS} HTTP/9.9\r\n\r\n",
        f"GET / HTTP/1.1\r\n{HEADER}\r\n\r\n",
        f"POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{CODE}",
    ):
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.sendall(raw.encode())
            connection.settimeout(0.2)
            with contextlib.suppress(OSError):
                connection.recv(1000)
            connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )  # break it off
