"""A decode worker's receiving end as a process of its own; driven by JSON lines on standard input.

python receiving_process.py TRANSPORT '{"num_layers": ...}'
<- {"endpoints": [[transport, address, host_id], ...]}
-> {"expect": [reservation_id, [block, ...], first_token, num_tokens]}    <- {"complete": reservation_id}, later
-> {"digest": true}                                                      <- {"digest": hash of the whole pool}
"""

import asyncio
import json
import sys
from functools import partial

import xxhash

from penstock.core.kv_layout import KvLayout
from penstock.transfer.memory import allocate_kv_memory
from penstock.transfer.policy import TransferPolicy
from penstock.transfer.receiver import KvReceiver


def say(message: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


async def main(transport: str, layout: KvLayout) -> None:
    memory = allocate_kv_memory(layout)
    receiver = KvReceiver(("decode-0", 11))
    await receiver.start(memory, TransferPolicy(allowed=(transport,)))
    say({"endpoints": [(e.transport, e.address.decode(), e.host_id) for e in receiver.endpoints]})
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        told = json.loads(line)
        if "expect" in told:
            reservation_id, blocks, first, num_tokens = told["expect"]
            complete = partial(say, {"complete": reservation_id})
            receiver.expect(("prefill-0", 22), reservation_id, blocks, first, num_tokens, complete)
            say({"expecting": reservation_id})
        else:
            say({"digest": xxhash.xxh3_64_intdigest(memory.pool.data)})
    await receiver.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], KvLayout(**json.loads(sys.argv[2]))))
