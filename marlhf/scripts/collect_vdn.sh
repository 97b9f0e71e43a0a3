# Play of every graded agent of the three MPE tasks, 180 files each (Spread: 1.5 GB a policy).
# STEPS=1e6 makes 60 files, ENVIRONMENTS and LABELS say of whom; AGENTS is for Spread with 4 to 7 agents.
: "${ENVIRONMENTS:=spread reference tag}" "${LABELS:=expert rookie1 rookie2 rookie3 trivial}" "${STEPS:=3000000}" "${AGENTS:=0}"
. "$(dirname "$0")/common.sh"
for env in $ENVIRONMENTS; do
  task_of "$env" "$AGENTS"
  for label in $LABELS; do
    $python train/vdn_collect.py env.ENV_NAME="$task" ${nested[@]+"${nested[@]}"} alg.IDIOTIC_AGENT=False \
      alg.EXPERT_PARAM_PATH="agents/$agents_folder/$label.safetensors" alg.TRAJ_BATCH_PATH="$data_folder/vdn$label" \
      alg.TOTAL_TIMESTEPS="$STEPS" ${COLLECT:-} "$@"
  done
done
