from tests.relay.conftest import kernel_of_fakes as kernel_of_fakes  # A fixture.
