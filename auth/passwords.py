"""Password hashes: Argon2id with OWASP's minimum (19 MiB, two passes), as PHC strings."""

import os
import unicodedata

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from tenancy.errors import BadRequest

SHORTEST = 8
LONGEST = 1024  # bytes; hashing is meant to be slow, not to be fed megabytes
MEMORY_KIB = 19_456
PASSES = 2


def hash_password(password: str) -> str:
    """Hash a new password.

    Raises:
        BadRequest: shorter than 8 characters or longer than 1,024 bytes.
    """
    try:
        normal = unicodedata.normalize("NFKC", password).encode()
    except UnicodeEncodeError:
        raise BadRequest("A password is valid Unicode.") from None
    if len(password) < SHORTEST or len(normal) > LONGEST:
        raise BadRequest(f"A password has at least {SHORTEST} characters and at most {LONGEST} bytes.")
    argon2 = Argon2id(salt=os.urandom(16), length=32, iterations=PASSES, lanes=1, memory_cost=MEMORY_KIB)
    return argon2.derive_phc_encoded(normal)
