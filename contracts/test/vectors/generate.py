#!/usr/bin/env python3
"""Writes the vectors in this folder: docs/wire.md implemented a third time, independently of Rust and Solidity.

    python3 -m venv .venv && .venv/bin/pip install eth-account==0.14.0
    .venv/bin/python generate.py            write the files
    .venv/bin/python generate.py --check    fail if a file differs

eth-account computes every EIP-712 digest a second time and makes the signatures (RFC 6979, so they never change).
A key is keccak256 of its name in utf8: no private key stands in the files. The shape of the files is in README.md.
"""

import json
import pathlib
import sys

from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_hash.auto import keccak
from eth_keys import keys

HERE = pathlib.Path(__file__).parent
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
SOURCE, TARGET = 31337, 31338
OUTBOX = "0x" + "0b" * 20
INBOX = "0x" + "1b" * 20
TOKENS = ["0x" + "70" * 20, "0x" + "71" * 20]
FEE_RECIPIENT = "0x" + "fe" * 20
DEADLINE = 4_000_000_000
TERMS = [
    ("bytes32", "jobId"), ("bytes32", "receiptHash"), ("bytes32", "proofHash"), ("uint256", "sourceChainId"),
    ("address", "payer"), ("address", "payee"), ("address", "token"), ("uint256", "amount"), ("uint256", "fee"),
    ("uint256", "nonce"), ("uint256", "deadline"),
]
GROUP = [("bytes32", "root"), ("uint256", "count")]


# --- words ------------------------------------------------------------------------------------------------------------

def be(value, size):
    return value.to_bytes(size, "big")


def raw(text):
    return bytes.fromhex(text.removeprefix("0x"))


def show(data):
    return "0x" + data.hex()


def key(name):
    return keccak(name.encode())


def address(name):
    return Account.from_key(key(name)).address.lower()


def place(name):
    """An address nobody has a key for."""
    return show(keccak(b"address " + name.encode())[12:])


# --- section 3: the tree ----------------------------------------------------------------------------------------------

def leaf(ident):
    return keccak(b"\x00" + ident)


def parents(level):
    above = [keccak(b"\x01" + level[i] + level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return above + level[-1:] if len(level) % 2 else above


def root_of(ids):
    level = [leaf(i) for i in ids]
    while len(level) > 1:
        level = parents(level)
    return level[0]


def range_proof(ids, first, count):
    level, lo, hi, proof = [leaf(i) for i in ids], first, first + count, []
    while len(level) > 1:
        if lo % 2:
            lo -= 1
            proof.append(level[lo])
        if hi % 2 and hi < len(level):
            proof.append(level[hi])
            hi += 1
        level, lo, hi = parents(level), lo // 2, (hi + 1) // 2
    return proof


def root_from_range(ids, first, width, proof):
    """The verifier's side; None when the range or the proof does not fit."""
    if not ids or not 1 <= width <= 1024 or first + len(ids) > width:
        return None
    part, lo, rest = [leaf(i) for i in ids], first, list(proof)
    while width > 1:
        if lo % 2:
            if not rest:
                return None
            part, lo = [rest.pop(0)] + part, lo - 1
        hi = lo + len(part)
        if hi % 2 and hi < width:
            if not rest:
                return None
            part.append(rest.pop(0))
        part, lo, width = parents(part), lo // 2, (width + 1) // 2
    return None if rest else part[0]


def tree_ids(count):
    return [keccak(be(i, 32)) for i in range(count)]


def tree_vectors():
    counts = [*range(1, 10), 11, 15, 16, 17, 31, 32, 33, 100, 127, 128, 129, 255, 513, 1000, 1023, 1024]
    ranges = [(n, lo, hi - lo) for n in range(1, 8) for lo in range(n) for hi in range(lo + 1, n + 1)]
    ranges += [(11, 0, 11), (11, 3, 4), (11, 10, 1), (11, 8, 3), (33, 31, 2), (33, 32, 1), (33, 0, 32), (100, 37, 25), (129, 127, 2)]
    ranges += [(1000, 0, 128), (1000, 128, 128), (1000, 999, 1), (1000, 501, 333), (1023, 1022, 1), (1024, 0, 1024), (1024, 1, 1022), (1024, 511, 2)]
    proofs = []
    for count, first, items in ranges:
        ids = tree_ids(count)
        proof = range_proof(ids, first, items)
        assert root_from_range(ids[first:first + items], first, count, proof) == root_of(ids)
        proofs.append({"count": str(count), "first": str(first), "items": str(items), "proof": show(b"".join(proof)), "root": show(root_of(ids))})

    bad = []

    def refuse(why, count, first, ids, proof):
        found = root_from_range(ids, first, count, proof)
        assert found != root_of(tree_ids(count)), why
        bad.append({"why": why, "count": str(count), "first": str(first), "ids": show(b"".join(ids)), "proof": show(b"".join(proof)),
                    "root": show(root_of(tree_ids(count))), "fits": found is not None})

    seven = tree_ids(7)
    good = range_proof(seven, 2, 3)
    refuse("one sibling too few", 7, 2, seven[2:5], good[:-1])
    refuse("one sibling too many", 7, 2, seven[2:5], good + [seven[0]])
    refuse("siblings swapped", 7, 2, seven[2:5], good[::-1])
    refuse("range shifted", 7, 1, seven[2:5], good)
    refuse("members swapped", 7, 2, [seven[3], seven[2], seven[4]], good)
    refuse("member left out", 7, 2, seven[2:4], good)
    refuse("no member", 7, 2, [], range_proof(seven, 2, 2))
    refuse("range past the end", 7, 6, [seven[6], seven[6]], range_proof(seven, 6, 1))
    refuse("odd leaf doubled instead of promoted", 4, 0, tree_ids(3) + [tree_ids(3)[2]], [])
    refuse("one leaf with a proof", 1, 0, tree_ids(1), [seven[1]])
    refuse("inner node passed as a member", 2, 0, [leaf(tree_ids(2)[0]), leaf(tree_ids(2)[1])], [])
    refuse("width of the promoted tree", 8, 6, [seven[6]], range_proof(seven, 6, 1))
    return {
        "leaf": {"id": show(seven[0]), "hash": show(leaf(seven[0]))},
        "node": {"left": show(seven[0]), "right": show(seven[1]), "hash": show(keccak(b"\x01" + seven[0] + seven[1]))},
        "roots": [{"count": str(n), "root": show(root_of(tree_ids(n)))} for n in counts],
        "proofs": proofs,
        "bad": bad,
    }


# --- section 2: the message -------------------------------------------------------------------------------------------

def message(root, count, sequence=1, source=SOURCE, target=TARGET, outbox=OUTBOX, inbox=INBOX, fee=FEE_RECIPIENT):
    data = be(1, 1) + be(1, 1) + be(source, 8) + be(target, 8) + raw(outbox).rjust(32, b"\0") + raw(inbox).rjust(32, b"\0")
    data += be(sequence, 8) + root + be(count, 4) + raw(fee).rjust(32, b"\0")
    assert len(data) == 158
    return data


def message_vectors():
    good = []
    cases = [
        dict(root=root_of(tree_ids(3)), count=3),
        dict(root=root_of(tree_ids(1)), count=1, sequence=2**64 - 1, fee="0x" + "00" * 20),
        dict(root=root_of(tree_ids(1024)), count=1024, sequence=0, source=1, target=137),
        dict(root=b"\xff" * 32, count=16, source=2**64 - 1, target=2**64 - 2, outbox="0x" + "ff" * 20, inbox="0x" + "fe" * 20, fee="0x" + "fd" * 20),
    ]
    for case in cases:
        data = message(**case)
        good.append({
            "sourceChain": str(case.get("source", SOURCE)), "targetChain": str(case.get("target", TARGET)),
            "outbox": show(data[18:50]), "inbox": show(data[50:82]), "sequence": str(case.get("sequence", 1)),
            "root": show(data[90:122]), "count": str(case["count"]), "feeRecipient": show(data[138:158]),
            "bytes": show(data), "messageId": show(keccak(data)),
        })
    base = message(root_of(tree_ids(3)), 3)

    def patched(at, patch):
        return base[:at] + patch + base[at + len(patch):]

    bad = [
        ("empty", b""), ("one byte short", base[:-1]), ("one byte long", base + b"\0"), ("version 0", patched(0, b"\0")),
        ("version 2", patched(0, b"\2")), ("kind 0", patched(1, b"\0")), ("kind 2 with the layout of a batch", patched(1, b"\2")),
        ("source chain 0", patched(2, be(0, 8))), ("target chain 0", patched(10, be(0, 8))), ("count 0", patched(122, be(0, 4))),
        ("count 1025", patched(122, be(1025, 4))), ("count 2^31 + 1", patched(122, be(2**31 + 1, 4))),
        ("fee recipient is no address", patched(126, b"\1")),
    ]
    return {"messages": good, "bad": [{"why": why, "bytes": show(data)} for why, data in bad]}


# --- section 2, kind 2: checkpoints of hubs ----------------------------------------------------------------------------

HUB = "0x" + "6b" * 20
REGISTRY = "0x" + "2b" * 20
CHECKPOINT = [("uint256", "chain"), ("address", "hub"), ("uint256", "eon"), ("bytes32", "root")]


def checkpoint(root, eon=1, source=SOURCE, target=TARGET, outbox=OUTBOX, inbox=INBOX, hub=HUB):
    data = be(1, 1) + be(2, 1) + be(source, 8) + be(target, 8) + raw(outbox).rjust(32, b"\0") + raw(inbox).rjust(32, b"\0")
    data += be(eon, 8) + root + be(0, 4) + bytes(32) + raw(hub).rjust(32, b"\0")
    assert len(data) == 190
    return data


def checkpoint_digest(value, chain, registry):
    struct = keccak(type_hash("Checkpoint", CHECKPOINT) + b"".join(word(k, value[n]) for k, n in CHECKPOINT))
    kind = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
    domain = keccak(kind + keccak(b"CheckpointRegistry") + keccak(b"1") + be(chain, 32) + word("address", registry))
    found = keccak(b"\x19\x01" + domain + struct)
    named = {"name": "CheckpointRegistry", "version": "1", "chainId": chain, "verifyingContract": registry}
    typed = encode_typed_data(named, {"Checkpoint": [{"name": n, "type": k} for k, n in CHECKPOINT]}, value)
    assert found == keccak(b"\x19" + typed.version + typed.header + typed.body)
    return found


def allotment_root(hub, a):
    """Root the proof leads to, None when it proves nothing: docs/hub.md."""
    chain, values, membership = a["allotmentChain"], a["values"], a["membershipChain"]
    if len(chain) != len(values) or max(len(chain), len(membership)) > 32 or a["right"] < a["left"]:
        return None
    if a["trail"] >> len(chain) or a["tokenTrail"] >> len(membership):
        return None
    passive = keccak(a["passiveRoot"] + be(a["passiveAmount"], 32) + be(a["passiveMarker"], 32))
    content = keccak(b"".join(keccak(raw(x)) for x in (hub, a["token"], a["wallet"])) + passive + a["activeStateChecksum"])
    left, right = a["left"], a["right"]
    node = keccak(be(left, 32) + content + be(right, 32))
    for level, (sibling, outer) in enumerate(zip(chain, values)):
        if a["trail"] >> level & 1:
            if outer > left:
                return None
            node = keccak(be(level, 4) + be(outer, 32) + keccak(sibling + be(left, 32) + node) + be(right, 32))
            left = outer
        else:
            if outer < right:
                return None
            node = keccak(be(level, 4) + be(left, 32) + keccak(node + be(right, 32) + sibling) + be(outer, 32))
            right = outer
    if left:
        return None
    node = keccak(bytes(32) + node + be(right, 32))
    for level, sibling in enumerate(membership):
        node = keccak(be(level, 4) + (sibling + node if a["tokenTrail"] >> level & 1 else node + sibling))
    return node


def shown_allotment(hub, root, a, why=None):
    shown = {"why": why} if why else {}
    shown |= {"hub": hub.lower(), "root": show(root)}
    for name, value in a.items():
        if isinstance(value, list):
            value = b"".join(be(item, 32) if isinstance(item, int) else item for item in value)
        shown[name] = show(value) if isinstance(value, bytes) else str(value).lower()
    return shown


def allotment_vectors():
    """The proofs of testdata/nocust, and what has been done to them that must not hold."""
    document = json.loads((HERE.parents[2] / "testdata" / "nocust" / "vectors.json").read_text())
    good, bad = [], []
    for one in document["checkpoints"]:
        hub, root = one["contract"], raw(one["checkpoint_merkle_root"])
        for token in one["tokens"]:
            for account in token["accounts"]:
                good.append((hub, root, {
                    "token": token["token"], "wallet": account["wallet"], "trail": account["trail"], "tokenTrail": token["token_trail"],
                    "left": int(account["left"]), "right": int(account["right"]), "activeStateChecksum": raw(account["active_state_checksum"]),
                    "passiveRoot": raw(account["passive_checksum"]), "passiveAmount": int(account["passive_amount"]),
                    "passiveMarker": int(account["passive_marker"]), "allotmentChain": [raw(x) for x in account["allotment_chain"]],
                    "values": [int(x) for x in account["values"]], "membershipChain": [raw(x) for x in token["membership_chain"]],
                }))
    for hub, root, a in good:
        assert allotment_root(hub, a) == root

    def refuse(why, hub, root, a):
        assert allotment_root(hub, a) != root, why
        bad.append(shown_allotment(hub, root, a, why))

    # The one with the longest way up, and a token that is not the first.
    hub, root, a = max(good, key=lambda case: (len(case[2]["allotmentChain"]) + len(case[2]["membershipChain"]), case[2]["trail"]))
    depth, above = len(a["allotmentChain"]), len(a["membershipChain"])
    assert depth > 1 and above > 0

    def flipped(data, bit=0):
        return data[:-1] + be(data[-1] ^ 1 << bit, 1)

    for name in ("activeStateChecksum", "passiveRoot"):
        refuse(f"{name} with a flipped bit", hub, root, a | {name: flipped(a[name])})
    for name in ("left", "right", "passiveAmount", "passiveMarker", "trail", "tokenTrail"):
        refuse(f"{name} with a flipped bit", hub, root, a | {name: a[name] ^ 1})
    for name in ("allotmentChain", "membershipChain"):
        for level in range(len(a[name])):
            chain = list(a[name])
            chain[level] = flipped(chain[level], level)
            refuse(f"{name}, level {level}, with a flipped bit", hub, root, a | {name: chain})
        refuse(f"{name} with a level too few", hub, root, a | {name: a[name][:-1]})
        refuse(f"{name} with a level too many", hub, root, a | {name: a[name] + [bytes(32)]})
    for level in range(depth):
        values = list(a["values"])
        values[level] += 1
        refuse(f"values, level {level}, one more", hub, root, a | {"values": values})
    refuse("values with one too many", hub, root, a | {"values": a["values"] + [a["values"][-1]]})
    refuse("a level less in both lists", hub, root, a | {"values": a["values"][:-1], "allotmentChain": a["allotmentChain"][:-1]})
    refuse("a trail bit above the proof", hub, root, a | {"trail": a["trail"] | 1 << depth})
    refuse("the highest trail bit", hub, root, a | {"trail": a["trail"] | 1 << 63})
    refuse("a token trail bit above the proof", hub, root, a | {"tokenTrail": a["tokenTrail"] | 1 << above})
    refuse("the highest token trail bit", hub, root, a | {"tokenTrail": a["tokenTrail"] | 1 << 63})
    refuse("another wallet", hub, root, a | {"wallet": place("another wallet")})
    refuse("another token", hub, root, a | {"token": place("another token")})
    refuse("another hub", HUB, root, a)
    refuse("another root", hub, flipped(root), a)
    refuse("left beyond right", hub, root, a | {"left": a["right"] + 1})
    refuse("the account root as a wallet's leaf", hub, root, a | {"allotmentChain": [], "values": [], "trail": 0, "left": 0, "right": a["values"][-1]})
    # Consistent up to its own root, but two wallets would share coins.
    overlap = a | {"trail": 1, "left": 5, "right": 9, "allotmentChain": [keccak(b"sibling")], "values": [6], "membershipChain": [], "tokenTrail": 0}
    refuse("the sibling's interval reaches into the wallet's", hub, keccak(b"root of that"), overlap)
    refuse("the line does not begin at 0", hub, keccak(b"root of that"), overlap | {"values": [1]})
    return [shown_allotment(*case) for case in good], bad


def checkpoint_vectors():
    good = []
    high = dict(eon=2**64 - 1, source=2**64 - 1, target=2**64 - 2, outbox="0x" + "ff" * 20, inbox="0x" + "fe" * 20, hub="0x" + "fd" * 20)
    for case in (dict(root=keccak(b"root 1")), dict(root=keccak(b"root 12"), eon=12), dict(root=be(1, 32), source=1, target=137), dict(root=b"\xff" * 32, **high)):
        data = checkpoint(**case)
        good.append({
            "sourceChain": str(case.get("source", SOURCE)), "targetChain": str(case.get("target", TARGET)),
            "outbox": show(data[30:50]), "inbox": show(data[62:82]), "hub": show(data[170:190]), "eon": str(case.get("eon", 1)),
            "root": show(data[90:122]), "bytes": show(data), "messageId": show(keccak(data)),
            "hubId": show(keccak(be(case.get("source", SOURCE), 32) + data[158:190])),
        })
    base = checkpoint(keccak(b"root 1"))

    def patched(at, patch):
        return base[:at] + patch + base[at + len(patch):]

    bad = [
        ("empty", b""), ("one byte short", base[:-1]), ("one byte long", base + b"\0"), ("without its body", base[:158]),
        ("version 0", patched(0, b"\0")), ("version 2", patched(0, b"\2")), ("kind 0", patched(1, b"\0")),
        ("kind 1 with the layout of a checkpoint", patched(1, b"\1")), ("kind 3", patched(1, b"\3")),
        ("source chain 0", patched(2, be(0, 8))), ("target chain 0", patched(10, be(0, 8))), ("eon 0", patched(82, be(0, 8))),
        ("root 0", patched(90, bytes(32))), ("count 1", patched(122, be(1, 4))), ("fee recipient", patched(126, raw(FEE_RECIPIENT).rjust(32, b"\0"))),
        ("hub 0", patched(158, bytes(32))), ("hub is no address", patched(158, b"\1")), ("a batch", message(root_of(tree_ids(3)), 3)),
        ("a batch with a hub behind it", message(root_of(tree_ids(3)), 3) + raw(HUB).rjust(32, b"\0")),
    ]
    signed = []
    for chain, registry, eon in ((TARGET, REGISTRY, 1), (TARGET, REGISTRY, 2**64 - 1), (137, REGISTRY, 1), (TARGET, OUTBOX, 1)):
        value = {"chain": SOURCE, "hub": HUB, "eon": eon, "root": show(keccak(b"root 1"))}
        digest_ = checkpoint_digest(value, chain, registry)
        signed.append({"chainId": str(chain), "registry": registry, "chain": str(SOURCE), "hub": HUB, "eon": str(eon), "root": value["root"],
                       "digest": show(digest_), "operator": address("hub operator"), "signature": show(sign("hub operator", digest_))})
    allotments, bad_allotments = allotment_vectors()
    return {"messages": good, "bad": [{"why": why, "bytes": show(data)} for why, data in bad], "signed": signed,
            "allotments": allotments, "badAllotments": bad_allotments}


# --- section 1: terms -------------------------------------------------------------------------------------------------

def word(kind, value):
    return raw(value).rjust(32, b"\0") if kind in ("bytes32", "address") else be(value, 32)


def type_hash(name, fields):
    return keccak(f"{name}({','.join(f'{k} {n}' for k, n in fields)})".encode())


def separator(chain, inbox):
    kind = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
    return keccak(kind + keccak(b"Settlement") + keccak(b"1") + be(chain, 32) + word("address", inbox))


def digest(name, fields, value, chain=TARGET, inbox=INBOX):
    """The EIP-712 digest by hand; eth-account must agree."""
    struct = keccak(type_hash(name, fields) + b"".join(word(k, value[n]) for k, n in fields))
    found = keccak(b"\x19\x01" + separator(chain, inbox) + struct)
    domain = {"name": "Settlement", "version": "1", "chainId": chain, "verifyingContract": inbox}
    typed = encode_typed_data(domain, {name: [{"name": n, "type": k} for k, n in fields]}, value)
    assert found == keccak(b"\x19" + typed.version + typed.header + typed.body)
    return found


def settlement_id(terms, **where):
    return digest("Settlement", TERMS, terms, **where)


def group_digest(ids, **where):
    return digest("SettlementGroup", GROUP, {"root": show(root_of(ids)), "count": len(ids)}, **where)


def sign(name, hashed):
    signature = keys.PrivateKey(key(name)).sign_msg_hash(hashed)
    mine = be(signature.r, 32) + be(signature.s, 32) + be(27 + signature.v, 1)
    assert mine == bytes(Account.unsafe_sign_hash(hashed, key(name)).signature) and signature.s <= ORDER // 2
    return mine


def terms_of(label, payer="payer one", payee="payee one", token=0, amount=1_000_000, fee=0, nonce=0, deadline=DEADLINE, proof=True):
    return {
        "jobId": show(keccak(f"job {label}".encode())), "receiptHash": show(keccak(f"receipt {label}".encode())),
        "proofHash": show(keccak(f"proof {label}".encode()) if proof else bytes(32)), "sourceChainId": SOURCE, "payer": address(payer),
        "payee": place(payee), "token": TOKENS[token], "amount": amount, "fee": fee, "nonce": nonce, "deadline": deadline,
    }


def plain(terms):
    return {n: terms[n] if k in ("bytes32", "address") else str(terms[n]) for k, n in TERMS}


def terms_vectors():
    good = []
    cases = [
        (terms_of("a"), TARGET, INBOX), (terms_of("b", payer="payer two", fee=250, nonce=7 << 8 | 3), TARGET, INBOX),
        (terms_of("c", amount=2**96 - 1, fee=2**96 - 1, nonce=2**255 - 1, deadline=2**40 - 1), TARGET, INBOX),
        (terms_of("d", amount=1, deadline=0, proof=False), TARGET, INBOX), (terms_of("a"), 137, INBOX), (terms_of("a"), TARGET, OUTBOX),
    ]
    for terms, chain, inbox in cases:
        ident = settlement_id(terms, chain=chain, inbox=inbox)
        signer = next(n for n in ("payer one", "payer two") if address(n) == terms["payer"])
        good.append({**plain(terms), "chainId": str(chain), "inbox": inbox, "separator": show(separator(chain, inbox)), "id": show(ident),
                     "signer": signer, "signature": show(sign(signer, ident))})
    unfit = [
        ("amount 0", {"amount": 0}), ("amount 2^96", {"amount": 2**96}), ("fee 2^96", {"fee": 2**96}), ("nonce 2^255", {"nonce": 2**255}),
        ("deadline 2^40", {"deadline": 2**40}), ("no payer", {"payer": "0x" + "00" * 20}), ("no payee", {"payee": "0x" + "00" * 20}),
        ("no token", {"token": "0x" + "00" * 20}), ("no receipt", {"receiptHash": "0x" + "00" * 32}), ("source chain 0", {"sourceChainId": 0}),
        ("source chain 2^64", {"sourceChainId": 2**64}),
    ]
    groups = []
    for count in (1, 2, 3, 7):
        ids = [settlement_id(terms_of(f"group {i}", nonce=i)) for i in range(count)]
        hashed = group_digest(ids)
        groups.append({"ids": show(b"".join(ids)), "root": show(root_of(ids)), "count": str(count), "chainId": str(TARGET), "inbox": INBOX,
                       "digest": show(hashed), "signer": "payer one", "signature": show(sign("payer one", hashed))})
    netting = []
    for count in (1, 2, 5):
        pairs = sorted((keccak(f"receipt net {i}".encode()), f"job net {i}") for i in range(count))
        jobs = [keccak(job.encode()) for _, job in pairs]
        hashes = [h for h, _ in pairs]
        netting.append({"jobs": [job for _, job in pairs], "receiptHashes": show(b"".join(hashes)),
                        "jobId": show(jobs[0] if count == 1 else root_of(jobs)), "receiptHash": show(hashes[0] if count == 1 else root_of(hashes))})
    return {
        "settlementTypeHash": show(type_hash("Settlement", TERMS)), "groupTypeHash": show(type_hash("SettlementGroup", GROUP)), "terms": good,
        "unfit": [{"why": why, **plain({**terms_of("a"), **change})} for why, change in unfit], "groups": groups, "netting": netting,
    }


# --- section 4: packed execution --------------------------------------------------------------------------------------

def lengthed(data):
    return be(len(data), 2) + data


def proof_bytes(proof):
    return be(len(proof), 1) + b"".join(proof)


class Section:
    """Items of one (token, payer, nonce word), all in one mode; `group` = (ids the payer signed, index of the first member)."""

    def __init__(self, items, signer, group=None, runs=None):
        self.items, self.signer, self.group, self.split = items, signer, group, runs

    def runs(self):
        if self.split:
            return self.split
        found = []
        for item in self.items:
            if found and found[-1][-1]["payee"] == item["payee"]:
                found[-1].append(item)
            else:
                found.append([item])
        return found

    def encode(self):
        head = self.items[0]
        data = be(1 if self.group else 0, 1) + raw(head["token"]) + raw(head["payer"]) + be(head["nonce"] >> 8, 31)
        if self.group:
            ids, first = self.group
            data += be(len(ids), 4) + be(first, 4) + proof_bytes(range_proof(ids, first, len(self.items)))
            data += lengthed(sign(self.signer, group_digest(ids)))
        data += be(len(self.runs()), 2)
        for run in self.runs():
            data += raw(run[0]["payee"]) + be(len(run), 2)
            for item in run:
                data += be(item["nonce"] & 0xFF, 1) + be(item["amount"], 12) + be(item["fee"], 12) + be(item["deadline"], 5)
                data += raw(item["jobId"]) + raw(item["receiptHash"]) + raw(item["proofHash"])
                if not self.group:
                    data += lengthed(sign(self.signer, settlement_id(item)))
        return data

    def describe(self):
        head, entry = self.items[0], {}
        if self.group:
            ids, first = self.group
            entry = {"groupIds": show(b"".join(ids)), "groupCount": str(len(ids)), "groupFirst": str(first),
                     "groupProof": show(b"".join(range_proof(ids, first, len(self.items)))), "auth": show(sign(self.signer, group_digest(ids)))}
        runs = []
        for run in self.runs():
            items = [{**plain(i), **({} if self.group else {"auth": show(sign(self.signer, settlement_id(i)))})} for i in run]
            runs.append({"payee": run[0]["payee"], "items": items})
        return {"mode": str(1 if self.group else 0), "token": head["token"], "payer": head["payer"], "nonceWord": show(be(head["nonce"] >> 8, 31)),
                **entry, "runs": runs}


def sums(items, who, what):
    found = {}
    for item in items:
        place_ = (item["token"], item[who])
        found[place_] = found.get(place_, 0) + sum(item[w] for w in what)
    return [{"token": t, who: w, "amount": str(a)} for (t, w), a in sorted(found.items())]


def pack(name, sections, before=(), after=(), sequence=1):
    """`before`, `after`: ids of the leaves around the range."""
    items = [i for s in sections for i in s.items]
    ids = [*before, *(settlement_id(i) for i in items), *after]
    first, count = len(before), len(items)
    header = message(root_of(ids), len(ids), sequence=sequence)
    proof = range_proof(ids, first, count)
    data = header + be(first, 4) + be(count, 2) + proof_bytes(proof) + b"".join(s.encode() for s in sections)
    return {
        "name": name, "message": show(header), "messageId": show(keccak(header)), "messageIds": show(b"".join(ids)), "first": str(first),
        "items": str(count), "ids": show(b"".join(ids[first:first + count])), "proof": show(b"".join(proof)), "packed": show(data),
        "debits": sums(items, "payer", ("amount", "fee")), "credits": sums(items, "payee", ("amount",)),
        "fees": str(sum(i["fee"] for i in items)), "sections": [s.describe() for s in sections],
    }


def packed_vectors():
    def batch(label, count, payees=("payee one",), word_=0, **rest):
        per = -(-count // len(payees))
        return [terms_of(f"{label} {i}", payee=payees[i // per], nonce=word_ << 8 | i, amount=1000 + i, fee=i % 3, **rest) for i in range(count)]

    def ids(items):
        return [settlement_id(i) for i in items]

    others = tree_ids(9)
    two = ("payee one", "payee two")
    one_group, ten = batch("g", 4, two), batch("p", 8, two)
    holed = batch("h", 5)
    tokens = batch("m0", 3), batch("m1", 3, payer="payer two", token=1), batch("m2", 2, ("payee two",), word_=2**247 - 1, payer="payer two", token=1)
    most = [terms_of("most", amount=2**96 - 1, fee=2**96 - 1, nonce=2**255 - 1, deadline=2**40 - 1)]
    cases = [
        pack("one settlement", [Section(batch("s", 1), "payer one")]),
        pack("mode 0, two runs", [Section(batch("r", 5, two), "payer one")], sequence=2),
        pack("mode 0, one payee in two runs", [Section(s := batch("q", 3), "payer one", runs=[s[:1], s[1:]])], sequence=3),
        pack("mode 1, whole group", [Section(one_group, "payer one", (ids(one_group), 0))], sequence=4),
        pack("mode 1, part of a group in part of a message", [Section(ten[2:6], "payer one", (ids(ten), 2))], others[:3], others[3:7], sequence=5),
        pack("mode 1, a hole makes two sections", [Section(holed[:2], "payer one", (ids(holed), 0)), Section(holed[3:], "payer one", (ids(holed), 3))],
             sequence=6),
        pack("two tokens, two payers, two nonce words", [
            Section(tokens[0], "payer one"), Section(tokens[1], "payer two", (ids(tokens[1]), 0)), Section(tokens[2], "payer two")],
            others[:5], others[5:6], sequence=7),
        pack("largest fields", [Section(most, "payer one")], sequence=8),
        pack("group of one", [Section(g := batch("o", 1), "payer one", (ids(g), 0))], sequence=9),
    ]
    return {"chainId": str(TARGET), "inbox": INBOX, "cases": cases, "bad": bad_packed(raw(cases[1]["packed"]), raw(cases[4]["packed"]))}


def bad_packed(zero, one):
    """`zero`: mode 0, 5 items, no siblings, section at 165. `one`: mode 1, 4 items of a part, section behind its siblings."""
    bad = []

    def refuse(why, error, data):
        bad.append({"why": why, "error": error, "packed": show(data)})

    def patch(data, at, patch_):
        return data[:at] + patch_ + data[at + len(patch_):]

    siblings = one[164]
    section = 165 + 32 * siblings
    runs_at, run_at, item_at = 165 + 72, 165 + 74, 165 + 96
    refuse("empty", "layout", b"")
    refuse("only a message", "layout", zero[:158])
    refuse("one byte short", "layout", zero[:-1])
    refuse("one byte long", "layout", zero + b"\0")
    refuse("mode 2", "layout", patch(zero, 165, b"\2"))
    refuse("nonce word with its top bit", "layout", patch(zero, 165 + 41, be(zero[165 + 41] | 0x80, 1)))
    refuse("no runs", "layout", patch(zero, runs_at, be(0, 2)))
    refuse("a run without items", "layout", patch(zero, run_at + 20, be(0, 2)))
    refuse("more items than announced", "layout", patch(zero, 162, be(4, 2)))
    refuse("fewer items than announced", "layout", patch(zero, 162, be(6, 2)))
    refuse("no items announced", "layout", patch(zero, 162, be(0, 2)))
    refuse("auth longer than 1,024 bytes", "layout",
           zero[:item_at + 126] + be(1025, 2) + bytes(1025) + zero[item_at + 126 + 67:])
    refuse("auth runs past the end", "layout", zero[:-67] + be(1024, 2) + zero[-65:])
    refuse("message of another version", "message", patch(zero, 0, b"\2"))
    refuse("message for another chain", "message", patch(zero, 10, be(TARGET + 1, 8)))
    refuse("message for another inbox", "message", patch(zero, 50, raw(OUTBOX).rjust(32, b"\0")))
    refuse("amount one more", "root", patch(zero, item_at + 12, be(zero[item_at + 12] + 1, 1)))
    refuse("another payee", "root", patch(zero, run_at, raw(place("thief"))))
    refuse("another payer", "root", patch(zero, 165 + 21, raw(place("thief"))))
    refuse("range shifted", "root", patch(one, 158, be(4, 4)))
    refuse("range past the end", "root", patch(one, 158, be(9, 4)))
    refuse("sibling changed", "root", patch(one, 165, be(one[165] ^ 1, 1)))
    refuse("one sibling too few", "root", one[:164] + be(siblings - 1, 1) + one[165:section - 32] + one[section:])
    refuse("one sibling too many", "root", one[:164] + be(siblings + 1, 1) + one[165:section] + bytes(32) + one[section:])
    return bad


# --- section 5: auth --------------------------------------------------------------------------------------------------

def signature_vectors():
    """`intake`: accept, refuse, or ask (only the payer's contract can tell); `contract`: whether the inbox pays with `stored`."""
    cases = []

    def case(name, auth, intake, contract, payer="payer one", wallet="", stored=None, signed=None):
        terms = {**terms_of("signature"), "payer": address(payer)}
        ident = settlement_id(terms)
        data = auth(ident)
        cases.append({"name": name, "payer": terms["payer"], "id": show(ident), "auth": show(data), "wallet": wallet, "intake": intake,
                      "stored": show(stored(ident) if stored else data), "contract": contract, "contractAsSent": contract if not stored else False})

    def good(ident, by="payer one"):
        return sign(by, ident)

    def with_v(v):
        return lambda ident: good(ident)[:64] + be(v, 1)

    def true_v(ident):
        return good(ident)[64]

    def high(ident):
        data = good(ident)
        return data[:32] + be(ORDER - int.from_bytes(data[32:64], "big"), 32) + be(55 - data[64], 1)

    def compact(ident):
        data = good(ident)
        return data[:32] + be(int.from_bytes(data[32:64], "big") | (data[64] - 27) << 255, 32)

    case("payer, v 27 or 28", good, "accept", True)
    case("payer, v 0 or 1", lambda i: good(i)[:64] + be(true_v(i) - 27, 1), "accept", True, stored=good)
    case("other parity, v 27 or 28", lambda i: good(i)[:64] + be(55 - true_v(i), 1), "refuse", False)
    for v in (2, 26, 29, 255):
        case(f"v {v}", with_v(v), "refuse", False)
    case("high s", high, "refuse", False)
    case("high s, v 0 or 1", lambda i: high(i)[:64] + be(high(i)[64] - 27, 1), "refuse", False)
    case("registered signer", lambda i: good(i, "registered signer"), "accept", True)
    case("stranger", lambda i: good(i, "stranger"), "refuse", False)
    case("signer of another payer", lambda i: good(i, "registered signer"), "refuse", False, payer="payer two")
    case("over another id", lambda i: good(keccak(i)), "refuse", False)
    case("eth_sign prefix", lambda i: good(keccak(b"\x19Ethereum Signed Message:\n32" + i)), "refuse", False)
    case("for another chain", lambda i: good(settlement_id(terms_of("signature"), chain=137)), "refuse", False)
    case("empty", lambda i: b"", "refuse", False)
    case("64 bytes (EIP-2098)", compact, "refuse", False)
    case("66 bytes", lambda i: good(i) + b"\0", "refuse", False)
    case("all zero, v 27", lambda i: bytes(64) + be(27, 1), "refuse", False)
    case("r 0", lambda i: bytes(32) + good(i)[32:], "refuse", False)
    case("s 0", lambda i: good(i)[:32] + bytes(32) + good(i)[64:], "refuse", False)
    case("r not below the order", lambda i: be(ORDER, 32) + good(i)[32:], "refuse", False)
    case("own key although the code refuses", good, "accept", True, wallet="refuse")
    case("registered signer of a contract", lambda i: good(i, "registered signer of the wallet"), "accept", True, payer="wallet", wallet="refuse")
    case("contract, its owner's signature", lambda i: good(i, "wallet owner"), "ask", True, payer="wallet", wallet="owner")
    case("contract, a stranger's signature", lambda i: good(i, "stranger"), "ask", False, payer="wallet", wallet="owner")
    case("contract, short bytes", lambda i: b"\1", "ask", True, payer="wallet", wallet="any")
    case("contract, no bytes", lambda i: b"", "ask", True, payer="wallet", wallet="any")
    case("contract, 1,024 bytes", lambda i: bytes(range(256)) * 4, "ask", True, payer="wallet", wallet="any")
    case("contract, 1,025 bytes", lambda i: bytes(1025), "refuse", False, payer="wallet", wallet="any")
    case("contract answers another word", lambda i: b"\1", "ask", False, payer="wallet", wallet="refuse")
    case("contract reverts", lambda i: b"\1", "ask", False, payer="wallet", wallet="revert")
    case("contract answers 4 bytes only", lambda i: b"\1", "ask", False, payer="wallet", wallet="short")
    case("contract answers the word with dirt behind it", lambda i: b"\1", "ask", False, payer="wallet", wallet="dirty")
    terms = plain(terms_of("signature"))
    del terms["payer"]
    return {
        "chainId": str(TARGET), "inbox": INBOX, "terms": terms, "walletOwner": address("wallet owner"),
        "signers": [{"payer": address("payer one"), "signer": address("registered signer")},
                    {"payer": address("wallet"), "signer": address("registered signer of the wallet")}],
        "cases": cases,
    }


def main():
    made = {"tree": tree_vectors, "message": message_vectors, "checkpoint": checkpoint_vectors, "terms": terms_vectors, "packed": packed_vectors, "signatures": signature_vectors}
    stale = []
    for name, make in made.items():
        text, path = json.dumps(make(), indent=1) + "\n", HERE / f"{name}.json"
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(path.name)
    if stale:
        sys.exit("differs: " + ", ".join(stale))


if __name__ == "__main__":
    main()
