#!/usr/bin/env bash
# The main job from end to end, through the commands a user types: pictures → dataset → view → training → look-ups → verified reproduction.
# Everything it makes lies in .demo/ (removed at the start of the next demo); records of your own work in .lineage/ are not touched.
set -euo pipefail
cd "$(dirname "$0")/.."

export LINEAGE_STORE=.demo/store
export TQDM_DISABLE=1
QUERY="select * where not any(logical_and(logical_or(boxes[:,2]<20, boxes[:,3]<20), labels == 'car'))"
if [ -t 1 ]; then bold=$'\033[1m' dim=$'\033[2m' plain=$'\033[0m'; else bold='' dim='' plain=''; fi

step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
show() {
  printf '%s$' "$dim"
  for word in "$@"; do
    case $word in *[!A-Za-z0-9_./=:@%+,-]*) printf ' "%s"' "$word" ;; *) printf ' %s' "$word" ;; esac
  done
  printf '%s\n' "$plain"
}
run() { show "$@"; "$@"; }
# expect STATUS COMMAND…: the command must end with this exit status.
expect() {
  local wanted=$1 status=0
  shift
  show "$@"
  "$@" || status=$?
  if [ "$status" -ne "$wanted" ]; then
    echo "the demo expected exit status $wanted, found $status" >&2
    exit 1
  fi
  echo "exit status: $status"
}
# train NAME OPTION…: train a detector; its run id is left in $trained.
train() {
  show python -m pipelines.detection train "$@"
  python -m pipelines.detection train "$@" | tee .demo/trained.txt
  trained=$(sed -n 's/^run_id: //p' .demo/trained.txt)
}

began=$SECONDS
rm -rf .demo
mkdir .demo

step "1/9 Make a small data set in VisDrone's format: drawn parking lots and roads"
run python -m pipelines.data scenes .demo/scenes --train 90 --validation 24 --size 480x360 --recipe parking --seed 7

step "2/9 Upload it as tracked jobs: pictures byte for byte, boxes, labels"
run lineage upload visdrone .demo/scenes/train .demo/visdrone-train
run lineage upload visdrone .demo/scenes/validation .demo/visdrone-validation

step "3/9 Save the view to train on: pictures in which no car is smaller than 20 pixels"
run lineage view create .demo/visdrone-train "$QUERY" --name cars-20px
run lineage view create .demo/visdrone-validation "$QUERY" --name cars-20px

step "4/9 Train a detector on the view (Faster R-CNN, small); W&B is told offline"
data=(--train .demo/visdrone-train --validation .demo/visdrone-validation --view cars-20px)
train --config demo "${data[@]}" --seed 7 --output .demo/model
first=$trained

step "5/9 Look it up: the record, the data behind the weights, the models behind the data"
run lineage runs
run lineage show "${first:0:8}"
run lineage data .demo/model/model.pth
run lineage models .demo/visdrone-train

step "6/9 Fine-tune it on every picture; then ask which models saw one of them, what differs, and whether validation leaked"
all=(--train .demo/visdrone-train --validation .demo/visdrone-validation)
train --config demo "${all[@]}" --seed 7 --epochs 1 --base-weights .demo/model/model.pth --output .demo/model-tuned
tuned=$trained
picture=$(lineage data "${first:0:8}" --rows --role train | awk -F '\t' 'NR == 2 {print $4}')
run cp ".demo/scenes/train/images/$picture.jpg" .demo/who-saw-me.jpg
run lineage models --image .demo/who-saw-me.jpg
run lineage diff "${first:0:8}" "${tuned:0:8}" --rows 2
expect 0 lineage leaks "${tuned:0:8}"

step "7/9 Keep it: verify every byte, archive the rows, write them as folders"
run lineage verify "${first:0:8}"
run lineage archive "${first:0:8}"
run lineage materialise "${first:0:8}" .demo/yolo --format yolo

step "8/9 See what step 17 was trained on; then make the run again from its record and compare every step, number and byte"
expect 0 lineage replay "${first:0:8}" --step 17 --output .demo/step-17
expect 0 lineage reproduce "${first:0:8}"

step "9/9 Two cases in which it cannot come out the same"
echo "One label changed in a copy of the data: blocked before anything is trained."
cp -r .demo/scenes/train .demo/scenes/train-relabelled
for file in .demo/scenes/train-relabelled/annotations/*.txt; do
  # The first picture that is in the view and shows a car: the car becomes a van.
  if awk -F, '$6 == 4 {cars = 1; if ($3 < 20 || $4 < 20) small = 1} END {exit !(cars && !small)}' "$file"; then
    awk -F, -v OFS=, '$6 == 4 && !done {$6 = 5; done = 1} {print}' "$file" >"$file.new" && mv "$file.new" "$file"
    break
  fi
done
run lineage upload visdrone .demo/scenes/train-relabelled .demo/visdrone-train-relabelled
expect 4 lineage reproduce "${first:0:8}" --data train=.demo/visdrone-train-relabelled

echo
echo "A seed that is not fixed: diverged, with the first step that differs."
train --config demo "${data[@]}" --seed none --epochs 1
expect 1 lineage reproduce "${trained:0:8}"

step "Done in $((SECONDS - began)) s (installation not counted). Look around:"
cat <<END
  export LINEAGE_STORE="\$PWD/.demo/store" PATH="\$PWD/.venv/bin:\$PATH"
  lineage runs
  lineage serve          # then open http://127.0.0.1:8765
END
