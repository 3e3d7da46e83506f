import resource

import pytest
from toy_run import run_forked

from seqtrain.distributed.open_files import allow_connections
from seqtrain.errors import DistributedError


def test_the_limit_on_open_files_is_raised_for_many_ranks_and_never_lowered() -> None:
    def raise_it() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (600, 3000))
        allow_connections(8)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (600, 3000)
        allow_connections(512)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (2560, 3000)

    assert run_forked(raise_it) == 0


def test_a_machine_that_allows_too_few_open_files_is_told_so() -> None:
    def refuse() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (600, 3000))
        with pytest.raises(DistributedError, match="1024 processes need about 4608 .* allows 3000"):
            allow_connections(1024)

    assert run_forked(refuse) == 0
