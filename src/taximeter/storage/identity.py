"""How SQL finds an event among archived ones: see domain/metering/identity.py, which packs them."""

KEY_OF = (
    "substr(sha256(convert_to({0}.source, 'UTF8') || '\\x00'::bytea"
    " || convert_to({0}.id, 'UTF8')), 1, 16)"
)
# The entry of `event_identity` of the customer and key in {0} and {1}; none where it is not there.
# Shards allow it where {0} is the customer of a row, not one of a list that was sent.
# A key is a hash: that one begins within another entry is as likely as that two are the same.
ENTRY_OF = (
    "(SELECT nullif(substr(b.entries, p.at, 36), '') FROM ("
    "SELECT entries FROM event_identity WHERE customer = {0} AND first <= {1}"
    " ORDER BY first DESC LIMIT 1) b,"
    " LATERAL (SELECT position({1} IN b.entries) AS at) p WHERE p.at > 0)"
)
