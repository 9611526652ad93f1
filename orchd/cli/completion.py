"""`orchd completion SHELL`: the script that lets a shell complete what is typed.

The scripts know nothing of orchd: at each Tab they ask it, by `--line`, what could stand there (`cli/candidates.py`).
So they stay right after an upgrade, and models that were added a moment ago are there.
"""

from __future__ import annotations

import argparse

from orchd.cli.candidates import candidates
from orchd.settings.client import ClientSettings
from orchd.streams import write

BASH = r"""# Completion of orchd for bash: orchd completion bash > ~/.local/share/bash-completion/completions/orchd
_orchd() {
  local line=${COMP_LINE:0:COMP_POINT} word=${COMP_WORDS[COMP_CWORD]} full found
  [[ $word == [:=] ]] && word=  # bash takes these for words; the part before them is not to be repeated.
  full=${line##*[[:space:]]}
  COMPREPLY=()
  mapfile -t found < <(orchd completion bash --line="$line" 2>/dev/null)
  if [[ ${found[0]-} == :files ]]; then
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
  else
    COMPREPLY=("${found[@]#"${full%"$word"}"}")
    [[ ${found[0]-} == *= ]] && compopt -o nospace 2>/dev/null
  fi
}
complete -F _orchd orchd
"""
ZSH = r"""#compdef orchd
# Completion of orchd for zsh: orchd completion zsh > FOLDER/_orchd, where FOLDER is one of $fpath.
_orchd() {
  local -a found
  found=("${(@f)$(orchd completion zsh --line="$LBUFFER" 2>/dev/null)}")
  if [[ $found[1] == :files ]]; then
    compset -P '--[^=]##='
    _files
  elif [[ -n $found[1] ]]; then
    compadd -Q -- "${found[@]}"
  fi
}
if [[ $funcstack[1] == _orchd ]]; then _orchd "$@"; else compdef _orchd orchd; fi
"""
FISH = r"""# Completion of orchd for fish: orchd completion fish > ~/.config/fish/completions/orchd.fish
function __orchd_complete
    set -l found (orchd completion fish --line=(commandline -cp | string collect) 2>/dev/null)
    if test "$found[1]" = ":files"
        set -l flag (commandline -ct | string match -r '^--[^=]+=')
        printf "$flag%s\n" (__fish_complete_path (commandline -ct | string replace -r '^--[^=]+=' ''))
    else
        printf '%s\n' $found
    end
end
complete -c orchd -f -a '(__orchd_complete)'
"""
ABOUT = """\
Write it to the file in which the shell looks for it, and start the shell again:

bash: ~/.local/share/bash-completion/completions/orchd, or for all users
/usr/share/bash-completion/completions/orchd; both need the package bash-completion

zsh: for all users /usr/local/share/zsh/site-functions/_orchd; or _orchd in another folder of $fpath

fish: ~/.config/fish/completions/orchd.fish, or for all users /etc/fish/completions/orchd.fish"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=SCRIPTS, help="bash, zsh or fish")
    parser.add_argument("--line", help=argparse.SUPPRESS)


def run(args: argparse.Namespace, _settings: ClientSettings) -> int:
    if args.line is None:
        write(SCRIPTS[args.shell].rstrip("\n"))
    elif found := candidates(args.line):
        write("\n".join(found))
    return 0
