"""What is kept from tasks beside the agent's own home."""

from dart.agent.home import secret_folders


def test_other_agents_and_a_server_here_are_kept_from_tasks(tmp_path, monkeypatch):
    """Where homes lie by default there are the others'; what is not there is left out."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    root = tmp_path / "dart"
    home = root / "agents" / "one"
    home.mkdir(parents=True)
    (tmp_path / "server").mkdir()
    assert secret_folders(home, "") == (root,)
    assert secret_folders(home, str(tmp_path / "server")) == (tmp_path / "server", root)
    assert secret_folders(tmp_path / "elsewhere", str(tmp_path / "gone")) == ()
