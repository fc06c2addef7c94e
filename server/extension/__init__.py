"""What apps are built on: all that their authors need is importable from here. See docs/extending.md."""

from tidings.protocol.channels import group_channel, role_channel, room_channel, user_channel
from tidings.protocol.close_codes import CloseCode
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.answers import Published
from tidings.protocol.messages.registry import NameConflict
from tidings.server.access import Caller, admins_only, users_only
from tidings.server.answers import SECURITY, Refused, answers
from tidings.server.directory import UserDirectory
from tidings.server.extension.app import App
from tidings.server.extension.call import Call
from tidings.server.extension.discovery import BrokenApp
from tidings.server.extension.doors import Door, Guest
from tidings.server.extension.running import AppFailed
from tidings.server.identity import Identity
from tidings.server.permissions import RoomRules
from tidings.server.push import ConnectionInfo, PublishRefused, Push

__all__ = [
    "SECURITY",
    "App",
    "AppFailed",
    "BrokenApp",
    "Call",
    "Caller",
    "CloseCode",
    "ConnectionInfo",
    "Door",
    "ErrorCode",
    "Guest",
    "Identity",
    "NameConflict",
    "PublishRefused",
    "Published",
    "Push",
    "Refusal",
    "Refused",
    "RoomRules",
    "UserDirectory",
    "admins_only",
    "answers",
    "group_channel",
    "role_channel",
    "room_channel",
    "user_channel",
    "users_only",
]
