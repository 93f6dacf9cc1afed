//! Every rule on the real tree, one test each; a failure prints each place and how to mend it.

use std::path::Path;
use tidy::tree::Tree;
use tidy::{Finding, arrows, lists, seam, source, unsafety, words};

fn check(rule: fn(&Tree) -> Vec<Finding>) {
    let tree = Tree::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    let findings: Vec<String> = rule(&tree).iter().map(Finding::to_string).collect();
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn crates_depend_in_one_direction() {
    check(arrows::crates);
}

#[test]
fn targets_reach_only_the_target_interface() {
    check(arrows::targets);
}

#[test]
fn every_platform_defines_the_whole_seam() {
    check(seam::platforms);
}

#[test]
fn the_driver_has_one_door_to_the_kernel() {
    check(seam::one_door);
}

#[test]
fn unsafe_stands_only_at_the_seams() {
    check(unsafety::places);
}

#[test]
fn every_unsafe_says_why_it_is_sound() {
    check(unsafety::comments);
}

#[test]
fn files_fit_500_lines() {
    check(source::file_length);
}

#[test]
fn functions_fit_70_lines() {
    check(source::function_length);
}

#[test]
fn lines_fit_100_columns() {
    check(words::line_width);
}

#[test]
fn exceptions_have_reasons() {
    check(source::reasons);
}

#[test]
fn source_is_ascii() {
    check(words::ascii);
}

#[test]
fn texts_do_not_name_where_they_were_written() {
    check(words::foreign_words);
}

#[test]
fn nothing_unfinished_is_left_behind() {
    check(words::leftovers);
}

#[test]
fn no_code_is_commented_out() {
    check(words::dead_code);
}

#[test]
fn files_are_named_after_what_they_are_about() {
    check(words::file_names);
}

#[test]
fn every_target_has_its_test_and_its_manual_section() {
    check(lists::targets);
}

#[test]
fn every_command_has_its_manual_entry() {
    check(lists::commands);
}

#[test]
fn decisions_are_numbered_without_gaps() {
    check(lists::decisions);
}
