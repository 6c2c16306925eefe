"""The schemas of users: the core (RFC 7643, section 4.1) and the enterprise extension (section 4.3)."""

from __future__ import annotations

from .attributes import Attribute, Schema, text

__all__ = ["ENTERPRISE", "USER"]


def _many(
    name: str, description: str, value: Attribute, kinds: tuple[str, ...] = (), *more: Attribute, display: bool = True
) -> Attribute:
    """A multi-valued attribute with the sub-attributes of RFC 7643, section 2.4."""
    subs = [value, *more]
    if display:
        subs.append(text("display", "A name for people to read"))
    subs.append(text("type", "What the value is for", canonical=kinds))
    subs.append(Attribute("primary", "boolean", "Whether this is the preferred value; at most one is"))
    return Attribute(name, "complex", description, multi=True, subs=tuple(subs))


USER = Schema(
    "urn:ietf:params:scim:schemas:core:2.0:User",
    "User",
    "An account of a person",
    (
        text("userName", "The name to sign in with, unique in the tenant", required=True, uniqueness="server"),
        Attribute(
            "name",
            "complex",
            "The parts of the name",
            subs=(
                text("formatted", "The whole name, as it is shown"),
                text("familyName", "The family name"),
                text("givenName", "The given name"),
                text("middleName", "Further names"),
                text("honorificPrefix", "A title in front of the name"),
                text("honorificSuffix", "What follows the name"),
            ),
        ),
        text("displayName", "The name that is shown to others"),
        text("nickName", "How the user is called among friends"),
        Attribute(
            "profileUrl", "reference", "A page about the user", case_exact=True, references=("external",)
        ),
        text("title", "The title at work, such as Chief Nurse"),
        text("userType", "How the user belongs to the organization, such as Employee"),
        text("preferredLanguage", "The language the user prefers, as in Accept-Language"),
        text("locale", "Where the user is, for dates and numbers"),
        text("timezone", "The time zone, such as Europe/Berlin"),
        Attribute("active", "boolean", "Whether the account can be used"),
        text(
            "password",
            "A new password; it has to keep the same rules as one that users set themselves",
            case_exact=True,
            mutability="writeOnly",
            returned="never",
        ),
        _many(
            "emails",
            "Addresses; the primary one, else the first, is the account's own",
            text("value", "The address"),
            ("work", "home", "other"),
        ),
        _many(
            "phoneNumbers",
            "Telephone numbers",
            text("value", "The number"),
            ("work", "home", "mobile", "fax", "pager", "other"),
        ),
        _many("ims", "Addresses for instant messages", text("value", "The address"), ("xmpp", "skype", "other")),
        _many(
            "photos",
            "Pictures",
            Attribute("value", "reference", "Where the picture is", case_exact=True, references=("external",)),
            ("photo", "thumbnail"),
        ),
        _many(
            "addresses",
            "Postal addresses",
            text("formatted", "The whole address"),
            ("work", "home", "other"),
            text("streetAddress", "Street and house"),
            text("locality", "City"),
            text("region", "State or region"),
            text("postalCode", "Postal code"),
            text("country", "Country, ISO 3166-1 alpha-2"),
            display=False,
        ),
        Attribute(
            "groups",
            "complex",
            "The groups that the user is a member of",
            multi=True,
            mutability="readOnly",
            subs=(
                text("value", "The group's id", case_exact=True, mutability="readOnly"),
                Attribute(
                    "$ref", "reference", "Where the group is", case_exact=True, mutability="readOnly",
                    references=("Group",),
                ),
                text("display", "The group's name", mutability="readOnly"),
                text("type", "How the user belongs to it", mutability="readOnly", canonical=("direct",)),
            ),
        ),
        _many("entitlements", "What the user may have elsewhere; kept, it grants nothing here", text("value", "It")),
        _many(
            "roles", "What the user is elsewhere; kept, it grants nothing here: groups do", text("value", "The role")
        ),
        _many(
            "x509Certificates",
            "Certificates of the user; kept, nobody signs in with them",
            Attribute("value", "binary", "The certificate, DER in base64", case_exact=True),
        ),
    ),
)  # fmt: skip

ENTERPRISE = Schema(
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
    "EnterpriseUser",
    "What an employer knows of a user",
    (
        text("employeeNumber", "The number that the organization gave the user"),
        text("costCenter", "The cost center"),
        text("organization", "The organization"),
        text("division", "The division"),
        text("department", "The department"),
        Attribute(
            "manager",
            "complex",
            "The user's manager",
            subs=(
                text("value", "The id of the manager's account", case_exact=True),
                Attribute("$ref", "reference", "Where the manager is", case_exact=True, references=("User",)),
                text("displayName", "The manager's name", mutability="readOnly"),
            ),
        ),
    ),
)
