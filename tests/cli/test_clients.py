"""`tutti client`, `tutti grant`, `tutti token` and `tutti keys`: who may ask, and what proves it, which is told once."""

from uuid import UUID, uuid4

import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.cli.shell import Shell, at_terminal, person, write


def pem(bits: int) -> bytes:
    """Make a public key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_client_create_tells_the_secret_of_those_that_can_keep_one(shell: Shell, account: UUID) -> None:
    key = write(shell, "key.pem", pem(2048))
    new = ("client", "create", "--account", account, "--scope", "aow_manage")
    back = ("--redirect-uri", "https://app.example/back")
    signs = ("--public-key", key)
    for kind, options, keeps in (
        ("confidential", (*back, *signs), True),
        ("public", back, False),
        ("machine", signs, True),
    ):
        made = shell.json(*new, "--kind", kind, *options)
        assert str(UUID(made["client_id"])) == made["client_id"]
        assert bool(made["client_secret"]) is keeps


def test_client_create_says_what_to_do_next(shell: Shell, account: UUID) -> None:
    key = write(shell, "key.pem", pem(2048))
    new = ("client", "create", "--account", account, "--kind")
    people, own = ("--scope", "openid", "--scope", "signature"), ("--scope", "signature aow_manage")
    back = ("--redirect-uri", "https://app.example/back?a=1")
    public_url = {"TUTTI_PUBLIC_URL": "https://tutti.example"}
    query = "redirect_uri=https%3A%2F%2Fapp.example%2Fback%3Fa%3D1&scope=openid+signature"
    credentials = "-d 'grant_type=client_credentials&scope={}' https://tutti.example/oauth/token"
    allow = f"tutti grant allow --account {account} --client "
    for kind, options, told in (
        (
            "public",
            (*back, *people),
            ["https://tutti.example/oauth/auth?", query, "code_challenge_method=S256"],
        ),
        (
            "confidential",
            (*back, *people),
            ["https://tutti.example/oauth/auth?", query, "https://tutti.example/oauth/token"],
        ),
        (
            "confidential",
            ("--public-key", key),
            ["JWT grant", f"once allowed: {allow}", "--scope signature\n"],
        ),
        (
            "confidential",
            ("--public-key", key, *back, *own, "--scope", "impersonation"),
            ["a person's consent", "--scope signature --scope aow_manage --scope impersonation\n"],
        ),
        ("machine", own, [credentials.format("signature+aow_manage")]),
        ("machine", (), [credentials.format("aow_manage+signature")]),
    ):
        finished = shell.run(*new, kind, *options, **public_url)
        assert finished.returncode == 0, finished.stderr
        for part in (*told, "TUTTI_PUBLIC_URL"):
            assert part in finished.stdout
        assert ("code_challenge" in finished.stdout) is (kind == "public")


def test_client_create_with_a_file_that_is_no_key_is_refused(shell: Shell, account: UUID) -> None:
    new = ("client", "create", "--account", account, "--kind", "machine", "--public-key")
    for name, content, told in (
        ("short.pem", pem(1024), "short.pem has 1024 bits"),
        ("empty.pem", b"", "empty.pem is not the PEM of an RSA public key"),
        ("bytes.pem", b"\xff", "bytes.pem is not a PEM file"),
    ):
        assert told in shell.refused(*new, write(shell, name, content))


def test_client_keys_and_redirect_uris_come_and_go(shell: Shell, account: UUID) -> None:
    back, key = "https://app.example/back", write(shell, "key.pem", pem(2048))
    new = ("client", "create", "--kind", "confidential", "--account", account, "--redirect-uri", back)
    client_id = shell.json(*new)["client_id"]
    of = (client_id, "--account", account)
    added = shell.json("client", "add-key", *of, "--public-key", key)
    local = "http://localhost:3000/"
    assert shell.json("client", "add-redirect-uri", *of, local)["redirect_uris"] == [back, local]
    listed = shell.run("client", "list", "--account", account).stdout
    for part in ("scopes: any", f"redirect URI: {local}", f"key 1: {added['fingerprint']}"):
        assert part in listed
    removed = shell.run("client", "remove-redirect-uri", *of, back).stdout
    assert removed == f"People return to client {client_id} at:\n  {local}\n"
    assert "has 0 keys left" in shell.run("client", "remove-key", *of, added["fingerprint"]).stdout


def test_client_list_rotate_secret_and_delete(shell: Shell, account: UUID) -> None:
    made = shell.json("client", "create", "--account", account, "--kind", "machine", "--name", "[bold]Robot")
    client_id = made["client_id"]
    (listed,) = shell.json("client", "list", "--account", account)["clients"]
    assert (listed["client_id"], listed["kind"], listed["name"]) == (client_id, "machine", "[bold]Robot")
    assert "[bold]Robot" in shell.run("client", "list", "--account", account).stdout
    rotated = shell.json("client", "rotate-secret", client_id, "--account", account)
    assert rotated["client_id"] == client_id
    assert rotated["client_secret"] not in (None, made["client_secret"])
    delete = ("client", "delete", client_id, "--account", account)
    assert "give --yes" in shell.refused(*delete)
    assert shell.json(*delete, "--yes") == {"client_id": client_id}
    assert "no clients" in shell.run("client", "list", "--account", account).stdout


def test_client_delete_at_a_terminal_asks_first(shell: Shell, account: UUID) -> None:
    made = shell.json("client", "create", "--account", account, "--kind", "machine")
    delete = ("client", "delete", made["client_id"], "--account", str(account))
    status, told = at_terminal(shell, *delete, answers=["[y/N]:n"])
    assert status == 1
    assert "Stopped." in told
    assert len(shell.json("client", "list", "--account", account)["clients"]) == 1


def test_grant_allow_and_revoke(shell: Shell, account: UUID) -> None:
    email, user_id = person(shell, account)
    app = ("client", "create", "--kind", "public", "--redirect-uri", "https://app.example/")
    client_id = shell.json(*app, "--account", account)["client_id"]
    allowance = {"account_id": str(account), "client_id": client_id}
    allow = ("grant", "allow", "--account", account, "--client", client_id, "--scope")
    assert shell.json(*allow, "signature") == allowance | {"scopes": ["impersonation", "signature"]}
    assert shell.run(*allow, "aow_manage").stdout.endswith(": aow_manage impersonation signature.\n")
    listed = shell.run("grant", "list", "--account", account).stdout
    assert f"{client_id} (client) for every member in account {account}: " in listed
    shell.json("token", "issue", "--account", account, "--user", user_id)
    told = shell.run("grant", "revoke", "--user", email).stdout
    assert "Ended 1 grant and its tokens; forgot 0 consents." in told
    assert f"to end that: tutti grant revoke --account {account} --client {client_id}" in told
    of_user = shell.json("grant", "revoke", "--user", email)
    assert of_user == {"grants": 0, "consents": 0, "standing": [allowance]}
    both = ("grant", "revoke", "--account", account, "--client", client_id)
    assert shell.run(*both).stdout == "Ended 0 grants and their tokens; forgot 1 consent.\n"
    assert shell.run("grant", "list", "--account", account).stdout == "Nothing was allowed.\n"


def test_token_issue_for_somebody_else_is_refused(shell: Shell, account: UUID) -> None:
    stranger = shell.json("account", "create", "Other")["account_id"]
    user = shell.json("user", "create", f"{uuid4().hex}@x.example", "--name", "A", "--account", stranger)
    assert "not a member" in shell.refused("token", "issue", "--account", account, "--user", user["user_id"])
    client = shell.json(
        *(
            "client",
            "create",
            "--account",
            account,
            "--kind",
            "public",
            "--redirect-uri",
            "https://app.example/",
        )
    )
    complaint = shell.refused("token", "issue", "--account", account, "--client", client["client_id"])
    assert "not a machine client" in complaint


def test_no_secret_is_told_twice(shell: Shell, account: UUID) -> None:
    email, password = f"{uuid4().hex}@tutti.example", f"correct {uuid4().hex}"
    add = ("user", "create", email, "--name", "Ada", "--account", account, "--password-stdin")
    told = shell.run(*add, given=password + "\n")
    made = shell.json("client", "create", "--account", account, "--kind", "machine")
    token = shell.json("token", "issue", "--account", account, "--client", made["client_id"])["access_token"]
    database = f"postgresql://tutti_app:{password.split()[1]}@127.0.0.1:1/tutti"
    texts = [
        told.stdout + told.stderr,
        shell.refused(*add, given=password + "\n"),
        shell.run("user", "set-password", email, "--password-stdin", given=password + "\n").stdout,
        shell.refused("client", "list", "--account", account, DATABASE_URL=database),
        shell.run("--help", DATABASE_URL=database).stdout,
        shell.run("client", "list", "--account", account).stdout,
        msgspec.json.encode(shell.json("client", "list", "--account", account)).decode(),
        shell.refused("client", "delete", made["client_id"], "--account", account),
        msgspec.json.encode(shell.json("grant", "revoke", "--client", made["client_id"])).decode(),
    ]
    for secret in (password, password.split()[1], made["client_secret"], token):
        for text in texts:
            assert secret not in text


def test_keys_rotate_waits_for_verifiers_unless_a_key_has_leaked(shell: Shell) -> None:
    assert "tutti keys rotate --now" in shell.refused("keys", "rotate")  # the first keys are new
    rotated = shell.json("keys", "rotate", "--now")
    states = {key["kid"]: key["state"] for key in shell.json("keys", "list")["keys"]}
    assert states == {rotated["signing"]: "signing", rotated["published"]: "next"}
    assert not set(rotated["removed"]) & set(states)
    assert f"{rotated['signing']}  signing" in shell.run("keys", "list").stdout
