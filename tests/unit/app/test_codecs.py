"""Publishers choose how Kafka's batches are compressed; a worker that cannot read one would stop at it."""

import pytest
from aiokafka import codec


@pytest.mark.parametrize("name", ["gzip", "snappy", "lz4", "zstd"])
def test_every_compression_of_kafka_can_be_read(name: str) -> None:
    encode, decode = getattr(codec, f"{name}_encode"), getattr(codec, f"{name}_decode")
    assert bytes(decode(encode(b"call.recorded" * 99))) == b"call.recorded" * 99
