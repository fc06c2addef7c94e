"""The documents' code in this folder is what the documents print."""

import hashlib

from support.node import DOCUMENTS

# Of each block as it was printed, from the line after its fence to the line before the next.
PRINTED = {
    "ginforge/App.vue": "b8d728ae42cca874b28ccb257fceab1e305a0a97c741bd05b574f77aed87e181",
    "ginforge/Chat.vue": "a5637ac53c4f2709fdea60a9a8e76dd600008a39dd26f604dc01322fefa13f49",
    "ginforge/Updates.vue": "f2a99c4a2e1960515b8ca64ce4aeb06270e6d03bb3a7f91e3c64b186f84a14ff",
    "ginforge/heartbeat.ts": "9ef7d4529c9b50a8d6144e27bc7c2c366695d25b066f3ca10b0caaeb2848a656",
    "ginforge/join_room.ts": "8496ded36114d064b264f91349d3089eade41933fdda0325318aac1d3516d3ea",
    "ginforge/leave_room.ts": "b05a5d20a6452e1413ccdecc8810a40fc85a7b706bb67d710785228a8447ef2c",
    "ginforge/queue.ts": "f3a461ba3b8fcc6b93c014c93881c5fb48b35c2fc0e5c2eecec3458af3382647",
    "ginforge/reconnect.ts": "8de85b04cc4b3c3a9fb005a9432e7f7b325adeb534e6594a27b4e141747dc061",
    "ginforge/messages/data_update.json": "dbddd1cecbc3307867bb99b33355cad820989c203dbf90cc980a7fe3d2b9069e",
    "ginforge/messages/notification.json": "e7a8470a1e4927b7729039bdcc0ddbe54c6c9de871664fa4fa04b3684fe8b754",
    "ginforge/messages/system.json": "cd4089c61b8644bfdf6f765dba41090d0158637a3b2c035782d6905e5ed1455c",
    "ginforge/messages/user_message.json": "d28ae27d889f95da84240ce24a275fb84129add73780a858ce40922e54bb6bf9",
    "ginforge/stores/websocket.ts": "16d513624e59a1e30d6ec19de2d6a45e7fd2560ce5291ddf136f87a67fd8af84",
    "knowledge/connect.ts": "90f48921d10574b35307583eb0b4614efea81b94c85ff15e6135898b1084216b",
}


def test_the_documents_code_is_as_printed() -> None:
    """No byte of it has changed and no file was added: the tests run what the documents' readers have."""
    found = {
        path.relative_to(DOCUMENTS).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in ("ginforge", "knowledge")
        for path in (DOCUMENTS / folder).rglob("*")
        if path.is_file()
    }
    assert found == PRINTED
