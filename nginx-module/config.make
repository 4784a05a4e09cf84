# The rule that builds the library, when one of its sources or a header of nginx
# has changed. So "make install" as another user needs no cargo.

ngx_event_pipe_root=$ngx_addon_dir/..

# the folders, too: a new file changes the time of its folder

ngx_event_pipe_deps=`find $ngx_event_pipe_root/src -name '*.rs' -o -name '*.html' -o -type d \
                     | sort`

ngx_event_pipe_deps="`echo $ngx_event_pipe_deps` \
$ngx_event_pipe_root/Cargo.toml $ngx_event_pipe_root/Cargo.lock \
$ngx_event_pipe_root/build.rs $ngx_addon_dir/build.sh \
$ngx_addon_dir/bindings.h $ngx_addon_dir/ngx_event_pipe_glue.h"

cat << END                                                    >> $NGX_MAKEFILE

$ngx_event_pipe_archive: \$(CORE_DEPS) $ngx_event_pipe_deps
	NGX_CARGO="$NGX_CARGO" NGX_RUST_TARGET="$NGX_RUST_TARGET" \\
	sh $ngx_addon_dir/build.sh $ngx_event_pipe_archive \\
		\$(CC) \$(CFLAGS) \$(CORE_INCS)

# a source that is gone is a change, too
$ngx_event_pipe_deps:

END
