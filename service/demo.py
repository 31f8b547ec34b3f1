"""Demo data: two accounts that have nothing to do with one another, a few people, and workflows to try.

Loading it again changes nothing but issues new tokens; the accounts' and clients' ids stay the same everywhere, so
that examples can name them. There is no password or secret that everybody knows: they are made here, and shown once.
"""

import secrets
from uuid import UUID

import msgspec

from auth.bearer import Operator
from auth.clients import create_client, issue_token
from auth.passwords import hash_password
from auth.registration import Registration
from auth.scopes import ADMINISTRATION, MAESTRO
from auth.tables import Client
from service.language.sandbox import Sandbox
from service.operations import workflows
from tenancy.accounts import account_exists, add_user, create_account, find_user, set_password
from tenancy.errors import Conflict
from tenancy.rows import rows_of

ACME = UUID("ae232f1f-8efc-4b8c-bb08-626847fad8bb")
GLOBEX = UUID("7d1c4be2-0f0a-4c0e-9d0e-5f6f5c1f7a11")
ROBOT = UUID("5f0c4c1a-4a0b-4b8e-8f0e-3f6c2d1b9e77")
APP = UUID("3d1f5f0e-7a1c-4c57-9a77-0f2b3f6f9c10")
APP_REDIRECTS = ("http://127.0.0.1:3000/callback", "http://localhost:3000/oauth2/callback")
APP_SCOPES = (*MAESTRO, "impersonation", "extended", "openid", "profile", "email", "offline_access")
ADMINISTRATOR = "ada@acme.example"
TOKEN_LIFE = 8 * 3600  # seconds; what the vendor gives

QUOTE = """\
document: {dsl: '1.0.3', namespace: demo, name: quote, version: '1.0.0', title: Price a quote}
input:
  schema:
    document:
      type: object
      required: [customer, lines]
      additionalProperties: false
      properties:
        customer: {type: string, minLength: 1}
        lines:
          type: array
          items:
            type: object
            required: [price]
            properties: {price: {type: number}, quantity: {type: integer, default: 1}}
        currency: {type: string, default: EUR}
do:
  - total:
      set:
        customer: ${ .customer }
        currency: ${ .currency }
        sum: ${ [.lines[] | .price * (.quantity // 1)] | add // 0 }
  - size:
      switch:
        - large: {when: .sum > 1000, then: discount}
        - small: {then: end}
  - discount:
      set: '${ . + {sum: (.sum * 0.95), discount: "5 %"} }'
"""

APPROVAL = """\
document: {dsl: '1.0.3', namespace: demo, name: purchase-approval, version: '1.0.0', title: Approve a purchase}
timeout: {after: P14D}
input:
  schema:
    document:
      type: object
      required: [item, amount]
      properties:
        item: {type: string}
        amount: {type: number, minimum: 0}
        approver: {type: string, default: finance@acme.example}
do:
  - prepare:
      set: '${ . + {status: "open"} }'
  - decision:
      listen: {to: {one: {with: {type: purchase.decided}}}}
      output: {as: '$input + {decision: .[0].outcome}'}
  - route:
      switch:
        - approved: {when: .decision == "approve", then: order}
        - refused: {then: refuse}
  - order:
      set: '${ . + {status: "ordered"} }'
      then: end
  - refuse:
      raise:
        error: {type: 'https://demo.example/errors/refused', status: 403, title: Purchase refused}
"""

WORKFLOWS = (QUOTE, APPROVAL)
PEOPLE = (
    (ADMINISTRATOR, "Ada Lovelace", ACME, "admin"),
    ("grace@acme.example", "Grace Hopper", ACME, "manager"),
    (ADMINISTRATOR, "Ada Lovelace", GLOBEX, "viewer"),
    ("edsger@globex.example", "Edsger Dijkstra", GLOBEX, "admin"),
)
ROBOT_WANTED = Registration(account_id=ACME, kind="machine", name="Acme's robot", scopes=MAESTRO)
APP_WANTED = Registration(
    account_id=ACME, kind="public", name="Acme's app", redirect_uris=APP_REDIRECTS, scopes=APP_SCOPES
)


class Demo(msgspec.Struct, frozen=True):
    """What was made: account ids by name, user ids by e-mail, workflow ids by title, tokens of the administrators.

    `password` is Ada Lovelace's and `machine_client_secret` the machine client's; None where they were there before.
    """

    accounts: dict[str, str]
    users: dict[str, str]
    workflows: dict[str, str]
    access_token: str
    other_access_token: str
    expires_in: int
    machine_client_id: str
    machine_client_secret: str | None
    public_client_id: str
    email: str
    password: str | None


async def load(sandbox: Sandbox) -> Demo:
    """Make what is missing of the demo data, publish its workflows and issue tokens."""
    accounts = {"Acme": ACME, "Globex": GLOBEX}
    for name, account_id in accounts.items():
        if not await account_exists(account_id):
            await create_account(name, account_id)
    for email, name, account_id, role in PEOPLE:
        try:
            await add_user(email, name, None, account_id, role)
        except Conflict:
            continue
    app_id, _ = await demo_client(APP_WANTED, APP)
    robot_id, robot_secret = await demo_client(ROBOT_WANTED, ROBOT)
    published: dict[str, str] = {}
    for account_id in accounts.values():
        for text in WORKFLOWS:
            operator = Operator(account_id)
            stored = await workflows.put(
                operator, await workflows.draft(operator, sandbox, text.encode(), "yaml")
            )
            if account_id == ACME:
                published[stored.row["title"]] = str(stored.row["id"])
    return Demo(
        accounts={name: str(account_id) for name, account_id in accounts.items()},
        users={email: str(await find_user(email)) for email, *_ in PEOPLE},
        workflows=published,
        access_token=await token_of(ADMINISTRATOR, ACME),
        other_access_token=await token_of("edsger@globex.example", GLOBEX),
        expires_in=TOKEN_LIFE,
        machine_client_id=str(robot_id),
        machine_client_secret=robot_secret,
        public_client_id=str(app_id),
        email=ADMINISTRATOR,
        password=await first_password(ADMINISTRATOR),
    )


async def token_of(email: str, account_id: UUID) -> str:
    """Issue a token for a demo person, for all of this dialect."""
    return await issue_token(
        account_id, ("user", await find_user(email)), (*MAESTRO, ADMINISTRATION), TOKEN_LIFE
    )


async def first_password(email: str) -> str | None:
    """Give a demo person a password and return it; None where they have one."""
    async with rows_of(ACME) as connection:
        lacks = await connection.fetchval(
            "SELECT password_hash IS NULL FROM app_user WHERE email = $1", email
        )
    if not lacks:
        return None
    password = secrets.token_urlsafe(12)
    await set_password(email, hash_password(password))
    return password


async def demo_client(wanted: Registration, client_id: UUID) -> tuple[UUID, str | None]:
    """Make a client of Acme's where there is none of that name; return its id, and its secret if it was made."""
    async with rows_of(ACME):
        found = await Client.select(Client.id).where(Client.name == wanted.name).first().run()
    return await create_client(wanted, client_id) if found is None else (found["id"], None)
