"""Settings: one schema behind file, environment, flags, `config/orchd.toml` and the README's table."""

from __future__ import annotations

import argparse
import errno
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.cli.flags import add_settings_flags, settings_of
from orchd.errors import Code, SettingsError
from orchd.settings import files as settings_files
from orchd.settings.addresses import split_listen
from orchd.settings.advice import advice
from orchd.settings.files import config_file, resolve_state_dir
from orchd.settings.load import load_settings
from orchd.settings.names import RENAMED
from orchd.settings.reference import settings_table, shipped_file
from orchd.settings.secrets import read_secret
from orchd.settings.tree import SETTINGS, Settings

SHIPPED = Path(__file__).parents[1] / "config" / "orchd.toml"


def loaded(
    text: str, tmp_path: Path, env: dict[str, str] | None = None, argv: dict[str, str] | None = None
) -> Settings:
    file = tmp_path / "orchd.toml"
    file.write_text(text)
    return load_settings(argv=argv or {}, env=env or {}, file=file)


def refused(text: str, tmp_path: Path, env: dict[str, str] | None = None, argv: dict[str, str] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        loaded(text, tmp_path, env, argv)
    assert caught.value.code is Code.SETTING_INVALID
    return caught.value.message


class TestShippedFile:
    def test_it_loads_and_is_what_orchd_does_without_it(self) -> None:
        """But for the models file, which is beside the settings file then."""
        beside = Settings(models_file=str(SHIPPED.parent / "aiModels.json"))
        assert load_settings(argv={}, env={}, file=SHIPPED) == beside

    def test_it_is_made_from_the_code(self) -> None:
        assert SHIPPED.read_text() == shipped_file(), "run: python -m orchd.settings.reference > config/orchd.toml"

    def test_it_holds_every_setting_with_its_explanation_right_above(self) -> None:
        section, before, found = "", "", {}
        for line in SHIPPED.read_text().splitlines():
            if header := re.fullmatch(r"\[(\w+)\]", line):
                section = f"{header[1]}."
            elif "=" in line and not line.startswith("#"):
                found[section + line.split(" =")[0]] = before.strip()
            before = f"{before} {line[2:]}" if line.startswith("# ") else ""
        assert found == {name: setting.description for name, setting in SETTINGS.items()}

    def test_every_number_has_a_unit_in_its_explanation(self) -> None:
        units = (
            "seconds",
            "KiB",
            "MiB",
            "jobs",
            "processes",
            "files",
            "failures",
            "connections",
            "days",
            "hours",
            "percent",
            "bytes per second",
            "wei",
            "Gas",
            "times",
            "requests",
            "channels",
        )
        for setting in SETTINGS.values():
            if type(setting.field.default) in (int, float) and setting.name != "chain.id":
                assert any(unit in setting.description for unit in units), setting.name


class TestPrecedence:
    def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(self, tmp_path: Path) -> None:
        text = "[jobs]\nhold_limit = 1\nhold_timeout_s = 1\nhook_timeout_s = 1\n"
        env = {"ORCHD_JOBS_HOLD_LIMIT": "2", "ORCHD_JOBS_HOLD_TIMEOUT_S": "2"}
        jobs = loaded(text, tmp_path, env, {"jobs.hold_limit": "3"}).jobs
        assert (jobs.hold_limit, jobs.hold_timeout_s, jobs.hook_timeout_s) == (3, 2.0, 1.0)
        assert jobs.connect_timeout_s == Settings().jobs.connect_timeout_s

    def test_lists_are_comma_separated_outside_the_file(self, tmp_path: Path) -> None:
        assert loaded("", tmp_path, {"ORCHD_DOCKER_GPU_IDS": "0, GPU-1,"}).docker.gpu_ids == ("0", "GPU-1")
        assert loaded('docker.gpu_ids = ["0"]', tmp_path).docker.gpu_ids == ("0",)

    def test_what_steers_the_test_suite_or_names_the_file_is_no_setting(self, tmp_path: Path) -> None:
        env = {"ORCHD_CONFIG": "/x", "ORCHD_TEST_REQUIRE_ALL": "1", "PATH": "/bin"}
        assert loaded("", tmp_path, env) == Settings()

    @given(
        st.fixed_dictionaries({}, optional={name: st.sampled_from(["env", "flag"]) for name in SETTINGS}),
    )
    def test_defaults_given_anywhere_change_nothing(self, where: dict[str, str]) -> None:
        """Flags and variables take a default as the settings table shows it."""
        env = {SETTINGS[name].env: SETTINGS[name].default for name, place in where.items() if place == "env"}
        argv = {name: SETTINGS[name].default for name, place in where.items() if place == "flag"}
        assert load_settings(argv=argv, env=env, file=None) == Settings()


class TestRenamed:
    """A former name is read for one version, with a warning that names the new one."""

    def read(self, text: str, tmp_path: Path, env: dict[str, str], argv: dict[str, str]) -> tuple[Settings, list[str]]:
        file = tmp_path / "orchd.toml"
        file.write_text(text)
        warnings: list[str] = []
        return load_settings(argv=argv, env=env, file=file, warn=warnings.append), warnings

    @pytest.mark.parametrize(
        ("text", "env", "argv", "where"),
        [
            ("[jobs]\nlook_us = 7", {}, {}, "jobs.look_us ({tmp}/orchd.toml:2)"),
            ("", {"ORCHD_JOBS_LOOK_US": "7"}, {}, "ORCHD_JOBS_LOOK_US (environment)"),
            ("", {}, {"jobs.look_us": "7"}, "--jobs-look-us (flag)"),
        ],
    )
    def test_it_is_read_with_a_warning_that_names_the_new_one_and_the_place(
        self, text: str, env: dict[str, str], argv: dict[str, str], where: str, tmp_path: Path
    ) -> None:
        settings, (warning,) = self.read(text, tmp_path, env, argv)
        assert settings.jobs.busy_poll_us == 7
        assert where.format(tmp=tmp_path) in warning
        assert "is named jobs.busy_poll_us now" in warning

    @pytest.mark.parametrize("order", [1, -1])
    def test_where_both_are_given_the_new_one_counts(self, order: int, tmp_path: Path) -> None:
        lines = ["look_us = 7", "busy_poll_us = 8"][::order]
        settings, (warning,) = self.read("\n".join(["[jobs]", *lines]), tmp_path, {}, {})
        assert settings.jobs.busy_poll_us == 8
        assert "remove jobs.look_us" in warning

    def test_a_wrong_value_names_the_place_where_it_stands(self, tmp_path: Path) -> None:
        assert f"jobs.busy_poll_us = 'x' ({tmp_path}/orchd.toml:2)" in refused("[jobs]\nlook_us = 'x'", tmp_path)

    def test_a_flag_is_still_taken_and_no_longer_shown(self) -> None:
        parser = argparse.ArgumentParser()
        add_settings_flags(parser)
        assert settings_of(parser.parse_args(["--jobs-look-us", "7"]), {}).jobs.busy_poll_us == 7
        assert "--jobs-look-us" not in parser.format_help()

    def test_each_leads_to_a_setting_and_is_none(self) -> None:
        assert set(RENAMED.values()) <= set(SETTINGS)
        assert not set(RENAMED) & set(SETTINGS)


class TestAdvice:
    def advised(self, **sections: Any) -> list[tuple[str, str]]:
        return list(advice(Settings.model_validate(sections)))

    @pytest.mark.parametrize(
        ("hooks", "listen", "chain", "trust", "named"),
        [
            (["tickets"], "127.0.0.1:0", 42161, "refuse", []),
            (["tickets"], "127.0.0.1:0", 0, "trust", []),
            (["tickets"], "127.0.0.1:0", 0, "refuse", ["chain.id"]),
            (["tickets"], "", 42161, "refuse", ["hooks.order"]),
            (["node-token"], "127.0.0.1:0", 0, "refuse", []),
            (["node-token"], "", 0, "refuse", []),
        ],
    )
    def test_who_is_to_be_paid_and_how_is_looked_at(
        self, hooks: list[str], listen: str, chain: int, trust: str, named: list[str]
    ) -> None:
        public = {"listen": listen, "doors": ["byoc"]}
        found = self.advised(hooks={"order": hooks}, public=public, chain={"id": chain}, tickets={"off_chain": trust})
        assert [name for name, _ in found] == named

    def test_the_defaults_are_no_mistake(self) -> None:
        assert self.advised() == []
        assert self.advised(orchestrator={"service_url": "https://127.0.0.1:8935"}) == []

    @pytest.mark.parametrize(
        ("sections", "named"),
        [
            ({"admin": {"listen": "127.0.0.1:8737"}}, ["jobs.listen"]),
            ({"jobs": {"listen": "127.0.0.1:8443"}}, ["public.listen"]),
            ({"jobs": {"listen": "0.0.0.0:8443"}}, ["public.listen"]),
            ({"jobs": {"listen": "10.0.0.2:8443"}}, []),
            ({"public": {"runner_listen": ":8443"}}, ["public.runner_listen"]),
            ({"public": {"runner_listen": "0.0.0.0:8443"}}, ["public.runner_listen"]),
            ({"public": {"runner_listen": ":8443", "doors": ["byoc"]}}, []),
            ({"jobs": {"listen": "127.0.0.1:0"}, "admin": {"listen": "127.0.0.1:0"}}, []),
        ],
    )
    def test_two_listeners_with_the_same_port_are_named(self, sections: dict[str, Any], named: list[str]) -> None:
        public = {"listen": "127.0.0.1:8443", "doors": ["live-runner"]} | sections.get("public", {})
        rules = {"hooks": {"order": ["tickets"]}, "chain": {"id": 42161}} | sections | {"public": public}
        found = [(name, why) for name, why in self.advised(**rules) if "has the same port" in why]
        assert [name for name, _ in found] == named

    @pytest.mark.parametrize("port", [8935, 8937, 8942])
    def test_a_port_of_livepeers_programs_is_named(self, port: int) -> None:
        ((jobs, why), (admin, _)) = [
            *self.advised(jobs={"listen": f"unix:/x,0.0.0.0:{port}"}),
            *self.advised(admin={"listen": f"[::1]:{port}"}),
        ]
        assert (jobs, admin) == ("jobs.listen", "admin.listen")
        assert f"0.0.0.0:{port}" in why
        assert "8935 to 8942" in why
        assert "127.0.0.1:8737" in why

    @pytest.mark.parametrize("port", [8934, 8943])
    def test_its_neighbours_are_not(self, port: int) -> None:
        assert self.advised(jobs={"listen": f"0.0.0.0:{port}"}) == []

    @pytest.mark.parametrize(
        ("node", "callback", "told"),
        [
            ("http://127.0.0.1:8935", "http://127.0.0.1:8737", False),
            ("http://[::1]:8935", "http://localhost:8737", False),
            ("http://10.0.0.7:8935", "http://127.0.0.1:8737", True),
            ("https://node.example", "http://localhost:8737", True),
            ("http://10.0.0.7:8935", "http://10.0.0.8:8737", False),
        ],
    )
    def test_a_loopback_callback_url_beside_a_node_elsewhere_is_named(
        self, node: str, callback: str, told: bool
    ) -> None:
        settings = Settings.model_validate({"orchestrator": {"service_url": node, "callback_url": callback}})
        found = [why for name, why in advice(settings) if name == "orchestrator.callback_url"]
        assert any("reaches itself by a loopback address" in why for why in found) == told

    @pytest.mark.parametrize(
        ("listen", "callback", "told"),
        [
            ("127.0.0.1:1234", "http://127.0.0.1:8737", True),
            ("127.0.0.1:1234", "http://[::1]:1234", False),
            ("127.0.0.1:80", "http://127.0.0.1", False),
            ("127.0.0.1:1234", "http://10.0.0.7:8737", False),  # A proxy may stand there.
            ("systemd", "http://127.0.0.1:8737", False),
            ("127.0.0.1:0", "http://127.0.0.1:8737", False),
        ],
    )
    def test_a_callback_url_at_whose_port_nobody_listens_is_named(self, listen: str, callback: str, told: bool) -> None:
        rules = {"service_url": "https://127.0.0.1:8935", "callback_url": callback}
        found = self.advised(jobs={"listen": listen}, orchestrator=rules)
        assert [name for name, _ in found] == ["orchestrator.callback_url"] * told

    def test_a_name_in_callback_url_is_named_with_what_to_write(self) -> None:
        rules = {"service_url": "127.0.0.1:8935", "callback_url": "http://localhost:8737"}
        [(name, why)] = self.advised(orchestrator=rules)
        assert name == "orchestrator.callback_url"
        assert "write 127.0.0.1 in place of localhost" in why


class TestErrors:
    def test_an_unknown_setting_names_the_nearest_and_its_line(self, tmp_path: Path) -> None:
        message = refused("\n[jobs]\nholdlimit = 3\n", tmp_path)
        assert message.startswith("cannot ")
        assert f"{tmp_path}/orchd.toml:3" in message
        assert message.endswith("nearest known one is jobs.hold_limit")

    def test_an_unknown_section_names_the_nearest(self, tmp_path: Path) -> None:
        message = refused("[dockr]\nnetwork = 'x'\n", tmp_path)
        assert "orchd.toml:1" in message
        assert message.endswith("nearest known one is docker")

    def test_an_unknown_variable_names_the_nearest_and_not_its_value(self, tmp_path: Path) -> None:
        message = refused("", tmp_path, {"ORCHD_MODEL_FILE": "planted-value"})
        assert message.endswith("nearest known one is ORCHD_MODELS_FILE")
        assert "planted-value" not in message

    @pytest.mark.parametrize(
        ("text", "env", "argv", "parts"),
        [
            ("[jobs]\nhold_limit = 'x'", {}, {}, ("jobs.hold_limit = 'x'", "orchd.toml:2", "valid integer")),
            ("[jobs]\nhold_limit = true", {}, {}, ("jobs.hold_limit = True", "orchd.toml:2", "valid integer")),
            ("jobs.hold_timeout_s = inf", {}, {}, ("jobs.hold_timeout_s = inf", "orchd.toml:1", "finite")),
            ("", {"ORCHD_JOBS_HOLD_TIMEOUT_S": "0"}, {}, ("variable ORCHD_JOBS_HOLD_TIMEOUT_S", "greater than 0")),
            ("", {}, {"log.level": "loud"}, ("flag --log-level", "'loud'", "'debug', 'info', 'warning' or 'error'")),
            ("instance = 'Big One'", {}, {}, ("instance = 'Big One'", "orchd.toml:1", "of a-z, 0-9 and -")),
            ("[docker]\ngpu_ids = [0]", {}, {}, ("docker.gpu_ids = [0]", "orchd.toml:2", "valid string")),
            ("jobs = 3", {}, {}, ("jobs = 3", "orchd.toml:1", "[jobs] is a section")),
            ("[models_file]", {}, {}, ("models_file = {}", "orchd.toml:1", "valid string")),
            ("", {}, {"jobs.listen": "8737"}, ("jobs.listen = '8737' (flag --jobs-listen)", "host:port")),
            ("", {}, {"reconcile.backoff_min_s": "61"}, ("[reconcile]", "61", "backoff_max_s = 60")),
        ],
    )
    def test_a_wrong_value_says_which_where_and_what_is_expected(
        self, text: str, env: dict[str, str], argv: dict[str, str], parts: tuple[str, ...], tmp_path: Path
    ) -> None:
        message = refused(text, tmp_path, env, argv)
        assert message.startswith("cannot ")
        assert [part for part in parts if part not in message] == []

    def test_all_problems_are_told_at_once(self, tmp_path: Path) -> None:
        message = refused("nonsense = 1\n[log]\nlevel = 'x'\n", tmp_path, {"ORCHD_NONSENSE": "1"})
        assert len(message.splitlines()) == 3

    def test_a_file_that_is_no_toml_or_missing_is_named(self, tmp_path: Path) -> None:
        assert re.search(r"cannot read settings file .*orchd.toml: .*line 1", refused("a = = 1", tmp_path))
        with pytest.raises(SettingsError, match=r"cannot read settings file /nowhere/x\.toml: No such file"):
            load_settings(argv={}, env={}, file=Path("/nowhere/x.toml"))


class TestListen:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:8737", ("::1", 8737)), ("my-host:65535", ("my-host", 65535))],
    )
    def test_host_and_port(self, text: str, expected: tuple[str, int]) -> None:
        assert split_listen(text) == expected

    @pytest.mark.parametrize("text", ["", "8737", ":8737", "::1:8737", "h:65536", "h:-1", "h:x", "http://h:1", "h:1 "])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="host:port"):
            split_listen(text)

    def test_jobs_may_have_several_listeners_of_all_kinds(self, tmp_path: Path) -> None:
        wanted = ("127.0.0.1:0", "[::1]:1", "unix:/run/x.sock", "systemd")
        assert loaded("", tmp_path, argv={"jobs.listen": ", ".join(wanted)}).jobs.listen == wanted
        assert loaded(f"jobs.listen = {list(wanted)}", tmp_path).jobs.listen == wanted
        assert loaded("jobs.listen = '[::1]:1'", tmp_path).jobs.listen == ("[::1]:1",)

    @pytest.mark.parametrize(
        ("value", "part"),
        [
            ("unix:/" + "x" * 107, "107 bytes"),
            ("tcp://h:1", "host:port"),
            ("127.0.0.1", "or systemd"),
            ("127.0.0.1:0,,systemd", "host:port"),
            ("", "host:port"),
        ],
    )
    def test_what_is_no_listener_is_refused_with_what_would_be(self, value: str, part: str, tmp_path: Path) -> None:
        assert part in refused(f"[jobs]\nlisten = '{value}'\n", tmp_path)


class TestConfigFile:
    def test_flag_then_environment_then_etc_then_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        etc = tmp_path / "etc.toml"
        monkeypatch.setattr(settings_files, "CONFIG_FILE", etc)
        assert config_file(None, {}) is None
        etc.touch()
        assert config_file(None, {}) == etc
        assert config_file(None, {"ORCHD_CONFIG": "/env"}) == Path("/env")
        assert config_file("/flag", {"ORCHD_CONFIG": "/env"}) == Path("/flag")


class TestStateDir:
    def test_the_setting_wins_and_becomes_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert resolve_state_dir("s", {"STATE_DIRECTORY": "/x"}) == tmp_path / "s"

    def test_else_the_first_one_that_systemd_gives(self) -> None:
        assert resolve_state_dir("", {"STATE_DIRECTORY": "/x:/y"}) == Path("/x")

    @pytest.mark.parametrize("writable", [True, False])
    def test_else_var_lib_if_we_may_write_there_else_the_users(
        self, writable: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("os.access", lambda path, mode: writable)
        monkeypatch.setenv("HOME", "/home/op")
        expected = Path("/var/lib/orchd") if writable else Path("/home/op/.local/state/orchd")
        assert resolve_state_dir("", {}) == expected


class TestFlagsAndTable:
    def test_every_setting_has_a_flag_whose_help_gives_description_and_default(self) -> None:
        parser = argparse.ArgumentParser()
        add_settings_flags(parser)
        text = " ".join(parser.format_help().split())
        for setting in SETTINGS.values():
            assert setting.flag in text
            assert " ".join(f"{setting.description} (default: {setting.default or 'empty'})".split()) in text

    def test_a_flag_reaches_the_settings(self, tmp_path: Path) -> None:
        parser = argparse.ArgumentParser()
        add_settings_flags(parser)
        args = parser.parse_args(["--jobs-listen", "[::1]:1", "--config", str(SHIPPED)])
        assert settings_of(args, {"ORCHD_JOBS_HOLD_LIMIT": "2"}).jobs.listen == ("[::1]:1",)

    def test_flags_and_variables_are_different_for_different_settings(self) -> None:
        assert len({s.flag for s in SETTINGS.values()}) == len({s.env for s in SETTINGS.values()}) == len(SETTINGS)

    def test_the_table_has_one_row_for_each_setting(self) -> None:
        rows = settings_table().splitlines()[2:]
        assert len(rows) == len(SETTINGS)
        assert "| `admin.listen` | `127.0.0.1:8738` | Address (host:port) of the admin pages. " in "\n".join(rows)
        assert all(len(re.findall(r"(?<!\\)\|", row)) == 4 for row in rows)

    def test_defaults_in_the_shipped_file_are_of_the_types_that_toml_has(self) -> None:
        tree = tomllib.loads(SHIPPED.read_text())
        assert isinstance(tree["jobs"]["hold_limit"], int)
        assert isinstance(tree["jobs"]["hold_timeout_s"], float)


class TestFilesThatCannotBeRead:
    def test_a_user_without_a_home_is_told_of_state_dir(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def homeless(self: Path) -> Path:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(Path, "expanduser", homeless)
        with pytest.raises(SettingsError, match="set state_dir"):
            resolve_state_dir("~/x", {})

    @pytest.fixture
    def hung(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
        """A file whose open does not return: a pipe that nobody writes to."""
        monkeypatch.setattr(settings_files, "READ_TIMEOUT_S", 0.05)
        path = tmp_path / "hung"
        os.mkfifo(path)
        yield path
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))  # lets the thread go

    def test_a_settings_file_that_hangs_is_named(self, hung: Path) -> None:
        with pytest.raises(SettingsError, match=f"settings file {hung}: its file system has not answered"):
            load_settings(argv={}, env={}, file=hung)

    @pytest.mark.parametrize("credentials", [False, True])
    def test_a_secret_that_hangs_is_named(self, hung: Path, credentials: bool) -> None:
        env = {"CREDENTIALS_DIRECTORY": str(hung.parent)} if credentials else {}
        with pytest.raises(SettingsError, match=f"a.b names, {hung}: its file system has not answered") as caught:
            read_secret("a.b", hung.name if credentials else str(hung), env)
        assert caught.value.code is Code.SECRET_UNREADABLE

    def test_a_secret_in_a_folder_that_is_closed_to_us_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(self: Path, **_: object) -> bool:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))

        monkeypatch.setattr(Path, "exists", refuse)
        with pytest.raises(SettingsError, match=f"a.b names, {tmp_path}/x: Permission denied"):
            read_secret("a.b", str(tmp_path / "x"), {})


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[hooks.order]\nkey = 'S3CRET-1'", "cannot use hooks.order = {...}"),
        ("[hooks]\npath = [{key = 'S3CRET-1'}]", "cannot use hooks.path = [...]"),
        ("[hooks]\npath = [['S3CRET-1']]", "cannot use hooks.path = [...]"),
        ("[[hooks]]\n[hooks.paywall]\nkey = 'S3CRET-1'", "cannot use hooks = [...]"),
        ("[orchestrator]\nservice_url = 'https://me:S3CRET-1@node:8935'", "service_url = 'https://***@node:8935'"),
        ("[orchestrator]\nservice_url = 'https://node/?key=S3CRET-1'", "service_url = 'https://node/?***'"),
        ("[orchestrator]\nservice_url = 'ws://S3CRET-1@node'", "service_url = 'ws://***@node'"),
        ("[orchestrator]\nregister = 'https://me:S3CRET-1@node'", "register = 'https://***@node'"),
    ],
)
def test_an_error_shows_neither_what_tables_hold_nor_credentials_in_a_url(tmp_path: Path, toml: str, said: str) -> None:
    file = tmp_path / "orchd.toml"
    file.write_text(toml)
    with pytest.raises(SettingsError) as caught:
        load_settings(argv={}, env={}, file=file)
    assert said in caught.value.message
    assert "S3CRET" not in caught.value.message


def test_a_state_directory_that_no_path_can_name_is_refused_in_words() -> None:
    with pytest.raises(
        SettingsError, match=r"^cannot use the setting state_dir 'a\\x00b': no path has a NUL character"
    ):
        resolve_state_dir("a\0b", {})


def test_tickets_that_nobody_can_pay_with_are_told_with_what_to_set() -> None:
    def told(**sections: Any) -> dict[str, str]:
        hooks = {"order": ["node-token", "tickets"]}
        return dict(advice(Settings.model_validate({"hooks": hooks, **sections})))

    public = {"listen": ["127.0.0.1:0"], "url": "https://ai.example.org", "doors": ["byoc"]}
    assert "set public.listen, and public.doors" in told()["hooks.order"]
    assert not told(public={**public, "doors": ["live-runner"]}, chain={"id": 42161})
    assert told(public=public)["chain.id"].startswith("0: without a chain tickets are worth nothing")
    assert not told(public=public, tickets={"off_chain": "trust"})
    assert not told(public=public, chain={"id": 42161})
