"""A chosen part of the other tests, against an app that paints by a Ray cluster; `pytest --ray` runs all of them so."""

import httpx
import pytest

from tests import serving
from tests.e2e.test_cancel import (  # noqa: F401
    test_f2_a_closed_connection_stops_the_run_while_others_are_served,
    test_f2_job_cancel_stops_within_a_step_and_leaves_nothing,
)
from tests.e2e.test_compare import (  # noqa: F401
    test_a_cell_is_byte_for_byte_the_request_alone,
    test_f2_a_comparison_that_is_cancelled_stops_within_a_step,
)
from tests.e2e.test_endpoints import (  # noqa: F401
    test_each_of_several_pictures_is_as_if_made_alone,
    test_styles_change_the_picture_and_at_zero_they_do_not,
    test_the_stream_tells_every_step_with_a_preview_before_the_picture,
    test_what_is_finished_of_a_batch_is_kept_when_the_rest_is_stopped,
)
from tests.e2e.test_history import test_a_page_that_reloads_finds_its_job_and_nobody_else_does  # noqa: F401
from tests.e2e.test_load import test_l1_fifty_at_once_each_get_their_own_picture_once  # noqa: F401
from tests.e2e.test_own_adapters import (  # noqa: F401
    mine,
    test_an_exported_mix_is_the_mix,
    test_an_upload_is_judged_and_painted_with_in_its_session_only,
)
from tests.e2e.test_training import (  # noqa: F401
    pictures,
    test_a_program_trains_and_paints_with_what_came_of_it,
    test_closed_it_stops_and_without_an_owner_nothing_is_left,
)

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def server():
    return serving.shared(**serving.RAY)


def test_the_status_counts_replicas_and_what_was_moved(server):
    told = httpx.get(f"{server.url}/status.json").json()
    assert told["replicas"] == 1 and told["mix_hits"] > told["mix_misses"] > 0 and told["moved_bytes"] > 0
    assert told["restarts"] == 0


def test_nothing_of_it_listens_to_other_machines_without_a_token(server):
    assert "Token authentication is enabled" in server.log.read_text()
