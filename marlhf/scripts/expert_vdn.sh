# Trains graded agents of the MPE tasks anew (hours on a CPU; the committed ones in agents/ need none of it).
: "${ENVIRONMENTS:=spread reference tag}" "${SEEDS:=0}" "${AGENTS:=0}"
. "$(dirname "$0")/common.sh"
for env in $ENVIRONMENTS; do
  task_of "$env" "$AGENTS"
  for seed in $SEEDS; do
    $python train/expert_vdn.py env.ENV_NAME="$task" ${nested[@]+"${nested[@]}"} SEED="$seed" ${EXPERT:-} "$@"
  done
done
