# Overcooked's play, 120 files each: every graded agent, random actions, and the expert with one deviator in agent 0's
# place. EPOCHS says how many files.
: "${LABELS:=expert rookie1 rookie2 rookie3 trivial}" "${DEVIATORS:=rookie1 rookie2 rookie3}" "${EPOCHS:=120}"
. "$(dirname "$0")/common.sh"
for label in $LABELS; do
  path=agents/overcooked/$label.safetensors
  if [ "$label" = trivial ]; then path=random; fi
  $python train/overcooked_collect.py EXPERT_PARAM_PATH="$path" DATA_SAVE_PATH="data/overcooked/ippo$label" \
    COLLECT_EPOCHS="$EPOCHS" ${COLLECT:-} "$@"
done
for label in $DEVIATORS; do
  $python train/overcooked_collect.py EXPERT_PARAM_PATH=agents/overcooked/expert.safetensors \
    IDIOT_PARAM_PATH="agents/overcooked/$label.safetensors" "DATA_SAVE_PATH=data/overcooked/ippoexpert|${label}unilateral" \
    COLLECT_EPOCHS="$EPOCHS" ${COLLECT:-} "$@"
done
